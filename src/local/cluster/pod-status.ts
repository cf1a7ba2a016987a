import { isJsonObject, listAt, rfc3339, textAt, type JsonObject, type KubeObject } from './objects.ts';

/** How a container ended. */
export interface Termination {
  readonly exitCode: number;
  readonly reason: string;
  readonly message?: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly containerID?: string;
}

/** State of a container, as in its status. */
export type LocalContainerState =
  | { readonly waiting: { readonly reason: string; readonly message?: string } }
  | { readonly running: { readonly startedAt: string } }
  | { readonly terminated: Termination };

/** What the kubelet knows of one container. */
export interface ContainerView {
  readonly name: string;
  readonly image: string;
  readonly kind: 'init' | 'sidecar' | 'main';
  readonly state: LocalContainerState;
  readonly lastState: Termination | undefined;
  readonly restartCount: number;
  readonly containerID: string | undefined;
}

/** What the kubelet knows of a pod. */
export interface PodKnowledge {
  readonly restartPolicy: string;
  readonly containers: readonly ContainerView[];
  readonly startedAt: Date;
  readonly sandboxReady: boolean;
  /** No container is running, and none will be started. */
  readonly over: boolean;
  /** Why the kubelet itself ended the pod, e.g. DeadlineExceeded. */
  readonly ended?: { readonly reason: string; readonly message: string } | undefined;
}

/** The address of every local pod: they share the network of this machine. */
export const POD_ADDRESS = '127.0.0.1';

/** The status that the kubelet writes. `previous`: the one that it replaces, whose transition times are preserved. */
export function podStatus(known: PodKnowledge, previous: unknown, now: Date): JsonObject {
  const inits = known.containers.filter(({ kind }) => kind !== 'main');
  const mains = known.containers.filter(({ kind }) => kind === 'main');
  const phase = known.ended === undefined ? phaseOf(known) : 'Failed';
  return {
    phase,
    conditions: conditionsOf(known, phase, previous, now),
    ...(known.ended !== undefined && { reason: known.ended.reason, message: known.ended.message }),
    hostIP: POD_ADDRESS,
    hostIPs: [{ ip: POD_ADDRESS }],
    ...(known.sandboxReady && { podIP: POD_ADDRESS, podIPs: [{ ip: POD_ADDRESS }] }),
    startTime: rfc3339(known.startedAt),
    ...(inits.length > 0 && { initContainerStatuses: inits.map(statusOf) }),
    containerStatuses: mains.map(statusOf),
    qosClass: textAt(previous, 'qosClass') || 'BestEffort',
  };
}

function statusOf(container: ContainerView): JsonObject {
  const { state, lastState } = container;
  const running = 'running' in state;
  // An init container is ready once it has succeeded; any other while it runs, since there are no probes here.
  const ready = container.kind === 'init' ? 'terminated' in state && state.terminated.exitCode === 0 : running;
  return {
    name: container.name,
    state,
    lastState: lastState === undefined ? {} : { terminated: lastState },
    ready,
    restartCount: container.restartCount,
    image: container.image,
    imageID: container.containerID === undefined ? '' : `local://${container.image}`,
    ...(container.containerID !== undefined && { containerID: container.containerID }),
    started: running,
  };
}

/** @see getPhase in Kubernetes' pkg/kubelet/kubelet_pods.go */
function phaseOf({ restartPolicy, containers, over }: PodKnowledge): string {
  let initializing = false;
  for (const { kind, state } of containers) {
    if (kind === 'main') continue;
    if (kind === 'sidecar') {
      if ('waiting' in state) initializing = true;
      continue;
    }
    if ('terminated' in state) {
      if (state.terminated.exitCode === 0) continue;
      if (restartPolicy === 'Never') return 'Failed';
    }
    initializing = true;
  }
  let running = 0;
  let waiting = 0;
  let failed = 0;
  for (const { kind, state, lastState } of containers) {
    if (kind !== 'main') continue;
    if ('running' in state) running += 1;
    else if ('terminated' in state) failed += state.terminated.exitCode === 0 ? 0 : 1;
    else if (lastState === undefined) waiting += 1;
    else failed += 1;
  }
  if (initializing || waiting > 0) return over ? 'Failed' : 'Pending';
  if (running > 0) return 'Running';
  if (over) return failed > 0 ? 'Failed' : 'Succeeded';
  // Containers that will be restarted count as running, and so does a pod whose sidecars must still be ended.
  return 'Running';
}

function conditionsOf(known: PodKnowledge, phase: string, previous: unknown, now: Date): readonly unknown[] {
  const { containers, sandboxReady, over } = known;
  const done = phase === 'Succeeded' ? 'PodCompleted' : phase === 'Failed' ? 'PodFailed' : undefined;
  const uninitialized = containers.filter(({ kind, state }) =>
    kind === 'init'
      ? !('terminated' in state && state.terminated.exitCode === 0)
      : kind === 'sidecar' && 'waiting' in state,
  );
  const unready = containers.filter(({ kind, state }) => kind === 'main' && !('running' in state));
  const names = (list: readonly ContainerView[]): string => list.map(({ name }) => name).join(' ');
  const initialized =
    uninitialized.length === 0 || phase === 'Succeeded'
      ? { status: 'True', ...(phase === 'Succeeded' && { reason: 'PodCompleted' }) }
      : {
          status: 'False',
          reason: 'ContainersNotInitialized',
          message: `containers with incomplete status: [${names(uninitialized)}]`,
        };
  const ready =
    done !== undefined
      ? { status: 'False', reason: done }
      : unready.length === 0
        ? { status: 'True' }
        : {
            status: 'False',
            reason: 'ContainersNotReady',
            message: `containers with unready status: [${names(unready)}]`,
          };
  const wanted = [
    { type: 'PodReadyToStartContainers', status: sandboxReady && !over ? 'True' : 'False' },
    { type: 'Initialized', ...initialized },
    { type: 'Ready', ...ready },
    { type: 'ContainersReady', ...ready },
    { type: 'PodScheduled', status: 'True' },
  ];
  const types = new Set(wanted.map(({ type }) => type));
  const before = listAt(previous, 'conditions');
  const others = before.filter((condition) => !types.has(textAt(condition, 'type')));
  return [...others, ...wanted.map((condition) => withTransition(condition, before, now))];
}

/** A condition with the time of its last transition: the previous one's while its status is unchanged. */
export function withTransition(
  condition: { readonly type: string; readonly status: string },
  before: readonly unknown[],
  now: Date,
): JsonObject {
  const earlier = before.find((candidate) => textAt(candidate, 'type') === condition.type);
  const same = isJsonObject(earlier) && earlier['status'] === condition.status;
  return { ...condition, lastProbeTime: null, lastTransitionTime: same ? earlier['lastTransitionTime'] : rfc3339(now) };
}

/** The node's label for scheduling. */
export function nodeLabels(node: KubeObject | undefined): Readonly<Record<string, string>> {
  return node?.metadata.labels ?? {};
}
