/**
 * The Kubernetes permissions of each role. Roles check theirs at start, `doctor` names missing ones, and the chart's Roles are generated
 * from this table.
 */

/** One RBAC permission in the core API group. */
export interface ClusterAccess {
  readonly verb: string;
  readonly resource: string;
  readonly subresource?: string;
  /** What it is needed for. */
  readonly why: string;
  /** Needed only to read results out of running pods. A role starts without it and logs that it is missing. */
  readonly onlyFor?: 'results';
}

const POD_READS: readonly ClusterAccess[] = [
  { verb: 'get', resource: 'pods', why: 'to read a pod’s state' },
  { verb: 'list', resource: 'pods', why: 'to start watching pods' },
  { verb: 'watch', resource: 'pods', why: 'to watch pods' },
];

const POD_WRITES: readonly ClusterAccess[] = [
  { verb: 'create', resource: 'pods', why: 'to launch pods' },
  { verb: 'patch', resource: 'pods', why: 'to mark retained pods' },
  { verb: 'delete', resource: 'pods', why: 'to clean pods up and to stop cancelled runs' },
  { verb: 'get', resource: 'pods', subresource: 'log', why: 'to read logs' },
  { verb: 'list', resource: 'events', why: 'to explain failures by the pod’s events' },
];

// A WebSocket request is a GET; from Kubernetes 1.35 the API server also requires `create`.
const RESULT_READS = [
  { verb: 'get', resource: 'pods', subresource: 'exec', why: 'to read results from the sidecar', onlyFor: 'results' },
  {
    verb: 'create',
    resource: 'pods',
    subresource: 'exec',
    why: 'to read results from the sidecar',
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
