/** Edge cases of Airflow's executor (X1–X100) without a test of their number, and why. */
export const NOT_APPLICABLE: Readonly<Record<number, string>> = {
  99: 'there is no cleanup-pods command: pods are deleted or labelled when their result is applied, and the janitor deletes the rest',
  100: 'there is no generate-dag-yaml command: DAGs are not read here; `reentry render` prints the manifest of a run',
};
