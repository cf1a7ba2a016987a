/** Edge cases of the specification (executor §10) without a test of their number, and why. Checked for completeness. */
export const NOT_APPLICABLE: Readonly<Record<number, string>> = {
  99: 'there is no cleanup-pods command: pods are deleted or marked when they are accounted for, and the janitor sees to the rest',
  100: 'there is no generate-dag-yaml command: DAGs are not read here; `reentry render` shows the manifest of a run',
};
