/**
 * The Kubernetes permissions of each role. Roles check theirs at start, `doctor` names missing ones, and the chart's Roles are generated
 * from this table.
 */

/** One RBAC permission in the core API group. */
export interface ClusterAccess {
  readonly verb: string;
  readonly resource: string;
  readonly subresource?: string;
  /** What does not work without it. */
  readonly why: string;
  /** Needed only to read results out of running pods. A role starts without it and logs that it is missing. */
  readonly onlyFor?: 'results';
}

const POD_READS: readonly ClusterAccess[] = [
  { verb: 'get', resource: 'pods', why: 'a pod is looked at' },
  { verb: 'list', resource: 'pods', why: 'the shared watch begins with a list' },
  { verb: 'watch', resource: 'pods', why: 'pods are watched, not polled' },
];

const POD_WRITES: readonly ClusterAccess[] = [
  { verb: 'create', resource: 'pods', why: 'pods are launched' },
  { verb: 'patch', resource: 'pods', why: 'pods that are kept are marked' },
  { verb: 'delete', resource: 'pods', why: 'pods are cleaned up, and cancelled runs stopped' },
  { verb: 'get', resource: 'pods', subresource: 'log', why: 'logs are read' },
  { verb: 'list', resource: 'events', why: 'a failure is explained by the pod’s events' },
];

// A WebSocket request is a GET; from Kubernetes 1.35 the API server also requires `create`.
const RESULT_READS = [
  { verb: 'get', resource: 'pods', subresource: 'exec', why: 'results are read from the sidecar', onlyFor: 'results' },
  {
    verb: 'create',
    resource: 'pods',
    subresource: 'exec',
    why: 'results are read from the sidecar',
    onlyFor: 'results',
  },
] as const satisfies readonly ClusterAccess[];

/** The table. A triggerer only watches: it never creates, changes or deletes pods. */
export const CLUSTER_ACCESS = {
  worker: [...POD_READS, ...POD_WRITES, ...RESULT_READS],
  executor: [...POD_READS, ...POD_WRITES, ...RESULT_READS],
  triggerer: POD_READS,
} as const satisfies Readonly<Record<string, readonly ClusterAccess[]>>;

/** The permissions of a process with these roles: the union of their rows, in the table's order. */
export function accessOf(roles: readonly (keyof typeof CLUSTER_ACCESS)[]): readonly ClusterAccess[] {
  const all = roles.flatMap((role): readonly ClusterAccess[] => CLUSTER_ACCESS[role]);
  return [...new Map(all.map((access) => [accessText(access), access])).values()];
}

/** A permission in its usual notation: `create pods/exec`. */
export function accessText({
  verb,
  resource,
  subresource,
}: Pick<ClusterAccess, 'verb' | 'resource' | 'subresource'>): string {
  return `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
}
