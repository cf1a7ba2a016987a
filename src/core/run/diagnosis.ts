/** Diagnoses: every code with its category, its meaning and what to do about it. */
import type { Diagnosis } from '../../wire/outcome.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';
import type { ContainerProjection, PodProjection } from '../pod/projection.ts';

/** Facts that a summary may name; each is optional. */
export interface DiagnosisFacts {
  readonly pod?: PodProjection | undefined;
  /** The container that decided. */
  readonly container?: ContainerProjection | undefined;
  /** Message of the API server, the kubelet or the caller. */
  readonly message?: string | undefined;
  /** The subject where there is no pod: a name, a connection, a limit. */
  readonly subject?: string | undefined;
  readonly events?: readonly { readonly type: string; readonly reason: string; readonly message: string }[] | undefined;
  readonly problems?: readonly { readonly path: string; readonly message: string }[] | undefined;
}

/** One row of the table. */
export interface DiagnosisEntry {
  readonly category: Diagnosis['category'];
  /** The budget that another attempt spends; `none`: there is no other attempt. */
  readonly budget: 'user' | 'infrastructure' | 'none';
  /** Meaning of the code, for `explain CODE` and the manual. */
  readonly meaning: string;
  /** One sentence about one run. */
  readonly summary: (facts: DiagnosisFacts) => string;
  readonly hint: string;
}

const containerName = ({ container, pod }: DiagnosisFacts): string => container?.name ?? pod?.baseContainer ?? 'base';
const afterColon = (message: string | undefined): string => {
  const line = message?.trim().split('\n')[0]?.slice(0, 300) ?? '';
  return line === '' ? '' : `: ${line}`;
};
const detail = (facts: DiagnosisFacts): string =>
  afterColon(facts.message ?? facts.container?.message ?? facts.pod?.message);
const node = ({ pod }: DiagnosisFacts): string => (pod?.node === undefined ? '' : ` on node ${pod.node}`);
const exit = ({ container }: DiagnosisFacts): string => {
  if (container?.exitCode === undefined) return 'ended without an exit code';
  const signal =
    container.signal ?? (container.exitCode > 128 && container.exitCode < 160 ? container.exitCode - 128 : 0);
  return `exited with code ${String(container.exitCode)}${signal > 0 ? ` (signal ${String(signal)})` : ''}`;
};
/** Kueue's gate on pods. @see https://kueue.sigs.k8s.io/docs/tasks/run/plain_pods/ */
const KUEUE_GATE = 'kueue.x-k8s.io/admission';
const gatekeeper = ({ pod }: DiagnosisFacts): string =>
  pod?.gates?.split(',').includes(KUEUE_GATE) === true
    ? 'Kueue to admit it'
    : `its scheduling gates to go (${pod?.gates ?? ''})`;
const about = ({ subject }: DiagnosisFacts): string => (subject === undefined ? '' : ` ${subject}`);

/** All codes; they are stable, and callers switch on them. */
export const DIAGNOSES = {
  CONTAINER_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'The base container exited with a code other than 0.',
    summary: (f) => `Container ${containerName(f)} ${exit(f)}${detail(f)}`,
    hint: 'Read the log of the run; the exit code is the program’s own.',
  },
  OOM_KILLED: {
    category: 'user',
    budget: 'user',
    meaning: 'A container used more memory than its limit and was killed by the kernel.',
    summary: (f) => `Container ${containerName(f)} ran out of memory and was killed`,
    hint: 'Raise containerResources.limits.memory, or use less.',
  },
  INIT_CONTAINER_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'An init container exited with a code other than 0, so the base container never ran.',
    summary: (f) => `Init container ${containerName(f)} ${exit(f)}${detail(f)}`,
    hint: 'Read that container’s log (initContainerLogs: true stores it).',
  },
  IMAGE_PULL_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'The image cannot be pulled: it does not exist, or the credentials do not allow it.',
    summary: (f) => `The image of container ${containerName(f)} cannot be pulled${detail(f)}`,
    hint: 'Check the image’s name and tag, and imagePullSecrets for a private registry.',
  },
  IMAGE_PULL_THROTTLED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The registry limits or fails pulls for the moment.',
    summary: (f) => `The registry held back the image of container ${containerName(f)}${detail(f)}`,
    hint: 'Use a pull-through cache or authenticated pulls; the attempt is repeated without spending a retry.',
  },
  INVALID_IMAGE_NAME: {
    category: 'user',
    budget: 'none',
    meaning: 'The image reference is invalid.',
    summary: (f) => `Container ${containerName(f)} names an invalid image${detail(f)}`,
    hint: 'Correct `image`: [registry/]repository[:tag|@digest], lower case.',
  },
  CONTAINER_CONFIG_ERROR: {
    category: 'user',
    budget: 'user',
    meaning:
      'The container cannot be made: a Secret, ConfigMap, key or volume it names does not exist, or its user is refused.',
    summary: (f) => `Container ${containerName(f)} cannot be configured${detail(f)}`,
    hint: 'Create what the message names, in the namespace of the pod.',
  },
  CONTAINER_CANNOT_RUN: {
    category: 'user',
    budget: 'user',
    meaning: 'The container’s command could not be started.',
    summary: (f) => `Container ${containerName(f)} could not be started${detail(f)}`,
    hint: 'Check that `cmds` names a program that the image has, and that it is executable.',
  },
  UNSCHEDULABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod waits for a node: the scheduler finds none that can take it now.',
    summary: (f) => `No node can take the pod now${afterColon(f.pod?.unschedulable?.message ?? f.message)}`,
    hint: 'Lower the requests, loosen nodeSelector, affinity or tolerations, or add nodes; scheduleTimeoutSeconds limits the wait.',
  },
  SCHEDULE_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'No node took the pod within scheduleTimeoutSeconds.',
    summary: (f) => `No node took the pod in time${afterColon(f.pod?.unschedulable?.message ?? f.message)}`,
    hint: 'Lower the requests, loosen nodeSelector, affinity or tolerations, add nodes, or raise scheduleTimeoutSeconds.',
  },
  STARTUP_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'The pod did not start within startupTimeoutSeconds.',
    summary: (f) => `The pod did not start in time${node(f)}${detail(f)}`,
    hint: 'See the pod’s events for what it waited for; raise startupTimeoutSeconds for large images or slow init containers.',
  },
  STUCK_QUEUED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'A pod of a command run did not start in time and was replaced.',
    summary: (f) => `The pod did not start in time and is replaced${node(f)}${detail(f)}`,
    hint: 'See the pod’s events for what it waited for; raise executorQueuedTimeoutSeconds where nodes are slow to come.',
  },
  EXECUTION_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'The attempt took longer than executionTimeoutSeconds.',
    summary: () => 'The attempt took longer than its execution time-out and was stopped',
    hint: 'Raise executionTimeoutSeconds, or make the work smaller.',
  },
  DEADLINE_EXCEEDED: {
    category: 'timeout',
    budget: 'user',
    meaning: 'Kubernetes ended the pod at its own activeDeadlineSeconds.',
    summary: (f) => `The pod was active longer than its activeDeadlineSeconds${detail(f)}`,
    hint: 'Raise activeDeadlineSeconds.',
  },
  EVICTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node or the eviction API pushed the pod out.',
    summary: (f) => `The pod was evicted${node(f)}${detail(f)}`,
    hint: 'The attempt is repeated. If it happens again, set requests and limits for memory and ephemeral-storage.',
  },
  PREEMPTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'A pod of higher priority preempted this one.',
    summary: (f) => `The pod was preempted${node(f)}${detail(f)}`,
    hint: 'The attempt is repeated. Give the run a priorityClassName if it must not yield.',
  },
  NODE_LOST: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node stopped answering or was removed while the pod was on it.',
    summary: (f) => `The pod’s node was lost${node(f)}`,
    hint: 'The attempt is repeated; look at the node.',
  },
  NODE_SHUTDOWN: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node shut down and ended its pods.',
    summary: (f) => `The node shut down${node(f)}${detail(f)}`,
    hint: 'The attempt is repeated.',
  },
  POD_DELETED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod was deleted from outside before it ended.',
    summary: (f) =>
      `The pod${f.pod === undefined ? '' : ` ${f.pod.namespace}/${f.pod.name}`} was deleted before it ended`,
    hint: 'The attempt is repeated. To stop a run, cancel it instead of deleting its pod.',
  },
  POD_STUCK_TERMINATING: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod was deleted and still exists long after its grace period.',
    summary: (f) => `The pod does not go away${node(f)}`,
    hint: 'Look at the node and at finalizers; `kubectl delete --force` frees the name but may leave the process running.',
  },
  PODS_AMBIGUOUS: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'Several live pods of earlier attempts were found, and it is unknown which one belongs to the run.',
    summary: (f) => `Several live pods of this run were found${about(f)}`,
    hint: 'Delete all but one of them, or set reattachOnRestart to false.',
  },
  POD_NAME_TAKEN: {
    category: 'request',
    budget: 'none',
    meaning: 'Another pod has the name this run’s pod must have.',
    summary: (f) => `A pod of another owner has the name${about(f)}`,
    hint: 'Leave randomNameSuffix at true, or choose another name.',
  },
  POD_REJECTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node that the pod was given to refused it (no room any more, or an admission check).',
    summary: (f) => `The node refused the pod${node(f)}${detail(f)}`,
    hint: 'The attempt is repeated on another node.',
  },
  NAMESPACE_NOT_FOUND: {
    category: 'request',
    budget: 'none',
    meaning: 'The namespace does not exist or is being deleted.',
    summary: (f) => `Namespace${about(f)} does not exist or is going away`,
    hint: 'Create the namespace, or name another one in `namespace`.',
  },
  NAMESPACE_NOT_WATCHED: {
    category: 'request',
    budget: 'none',
    meaning: 'The namespace is not one of those this installation watches.',
    summary: (f) => `Namespace${about(f)} is not watched by this installation`,
    hint: 'Use a watched namespace, or add it to REENTRY_NAMESPACES of workers and triggerers.',
  },
  PERMISSION_DENIED: {
    category: 'request',
    budget: 'none',
    meaning: 'The cluster refuses this to our credentials, or its policy refuses the pod.',
    summary: (f) => `The cluster refused the request${detail(f)}`,
    hint: 'Grant what the message names to the worker’s service account, or change what the policy refuses.',
  },
  QUOTA_EXCEEDED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The namespace’s quota has no room for the pod now.',
    summary: (f) => `The namespace’s quota is used up${detail(f)}`,
    hint: 'The launch is retried automatically; raise the ResourceQuota if it lasts.',
  },
  API_THROTTLED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server asks to slow down.',
    summary: (f) => `The API server holds requests back${detail(f)}`,
    hint: 'Retried automatically.',
  },
  API_UNAVAILABLE: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server cannot be reached or fails.',
    summary: (f) => `The API server is not available${detail(f)}`,
    hint: 'Retried automatically; `reentry doctor` checks the connection.',
  },
  API_UNAUTHORIZED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server does not accept our credentials.',
    summary: (f) => `The API server refused our credentials${detail(f)}`,
    hint: 'Renew the connection’s token or certificate.',
  },
  UNKNOWN_CONNECTION: {
    category: 'request',
    budget: 'none',
    meaning: 'The request names a connection that is not configured.',
    summary: (f) => `There is no connection${about(f)}${detail(f)}`,
    hint: 'Use a configured name in kubernetesConnId, or add it to REENTRY_CONNECTIONS.',
  },
  INVALID_REQUEST: {
    category: 'request',
    budget: 'none',
    meaning: 'The request cannot be carried out as it is.',
    summary: (f) => {
      const first = f.problems?.[0];
      const more = (f.problems?.length ?? 0) - 1;
      if (first === undefined) return `The request is invalid${detail(f)}`;
      return `The request is invalid: ${first.path}: ${first.message}${more > 0 ? ` (and ${String(more)} more)` : ''}`;
    },
    hint: 'Correct the fields that `problems` names; `reentry schema` prints the schema, `reentry submit` checks before it sends.',
  },
  POLICY_REFUSED: {
    category: 'request',
    budget: 'none',
    meaning: 'The tenant’s policy does not allow what the pod asks for.',
    summary: (f) => {
      const first = f.problems?.[0];
      const more = (f.problems?.length ?? 0) - 1;
      if (first === undefined) return `The tenant’s policy refuses the pod${detail(f)}`;
      return `The tenant’s policy refuses ${first.path}: ${first.message}${more > 0 ? ` (and ${String(more)} more)` : ''}`;
    },
    hint: 'Change what `problems` names, or ask the operators of the installation to change the rule named there (REENTRY_POLICY).',
  },
  RUN_ID_TAKEN: {
    category: 'request',
    budget: 'none',
    meaning: 'A run of this id exists with another content.',
    summary: (f) => `Run id${about(f)} is taken by another request`,
    hint: 'Use a run id once per request.',
  },
  SCHEDULING_GATED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod has scheduling gates: a controller such as Kueue holds it back from the scheduler.',
    summary: (f) => `The pod waits for ${gatekeeper(f)}`,
    hint: 'Neither scheduleTimeoutSeconds nor startupTimeoutSeconds counts meanwhile; see the Workload and its LocalQueue for quota.',
  },
  QUEUE_PAUSED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The run’s queue is paused: it accepts requests and starts no runs.',
    summary: (f) => `Queue${about(f)} is paused${afterColon(f.message)}`,
    hint: 'Nothing is lost: `reentry queue resume QUEUE` starts runs again.',
  },
  QUEUE_TURN: {
    category: 'infrastructure',
    budget: 'none',
    meaning:
      'More runs are ready than can be started at once; tenants take turns, each its own runs by priority and age.',
    summary: (f) => `The run waits for its turn in queue${about(f)}${afterColon(f.message)}`,
    hint: 'More workers, or a higher REENTRY_START_CREDITS, start more at once; `priority` orders a tenant’s own runs.',
  },
  CONCURRENCY_LIMIT: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'As many runs with the same concurrencyKey as may run at once are running.',
    summary: (f) => `All slots of concurrencyKey${about(f)} are taken${afterColon(f.message)}`,
    hint: 'The run starts when one of them ends; the workers’ REENTRY_CONCURRENCY_LIMITS sets how many may run.',
  },
  EXPIRED: {
    category: 'timeout',
    budget: 'none',
    meaning: 'The run’s pod was not created within expireSeconds.',
    summary: () => 'The run was not launched before it expired',
    hint: 'Raise expireSeconds, or add workers to the queue.',
  },
  CANCELLED: {
    category: 'cancelled',
    budget: 'none',
    meaning: 'The run was cancelled on request.',
    summary: (f) => `The run was cancelled${afterColon(f.message)}`,
    hint: 'Submit it again under another run id.',
  },
  OPERATOR_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'The code of a custom operator reported that the attempt failed.',
    summary: (f) => `The operator failed the attempt${afterColon(f.message)}`,
    hint: 'The message is the operator’s own; see its documentation and the worker’s log.',
  },
  OPERATOR_SKIPPED: {
    category: 'user',
    budget: 'none',
    meaning: 'The code of a custom operator skipped the run.',
    summary: (f) => `The operator skipped the run${afterColon(f.message)}`,
    hint: 'Nothing to do: this is the operator’s decision.',
  },
  DEAD_LETTERED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'Handling the run failed too often; a copy is in the dead-letter stream.',
    summary: (f) => `The run could not be handled${detail(f)}`,
    hint: 'Please report it with the message from the DLQ stream.',
  },
  RESULT_INVALID: {
    category: 'user',
    budget: 'none',
    meaning: 'A result was requested, and the container returned none that is JSON.',
    summary: (f) => `Container ${containerName(f)} succeeded but left no JSON result${afterColon(f.message)}`,
    hint: 'Write one JSON document to /airflow/xcom/return.json, or up to 4 KiB to /dev/termination-log.',
  },
  RESULT_TOO_LARGE: {
    category: 'user',
    budget: 'none',
    meaning: 'The result is larger than its channel carries.',
    summary: (f) => `The result of container ${containerName(f)} is too large${afterColon(f.message)}`,
    hint: 'A termination message carries 4 KiB, the result file 16 MiB: store more elsewhere and return its address.',
  },
  RESULT_UNREADABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The container succeeded, and the requested result could not be read from its pod.',
    summary: (f) => `Container ${containerName(f)} succeeded, but its result could not be read${afterColon(f.message)}`,
    hint: 'Check that the worker may `create` and `get` pods/exec and that the sidecar runs; or return up to 4 KiB as the termination message (xcomMode: message).',
  },
  TERMINATED_UNKNOWN: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod ended, and its outcome is unknown.',
    summary: (f) => `The pod ended without a known outcome${node(f)}${detail(f)}`,
    hint: 'The attempt is repeated.',
  },
} as const satisfies Readonly<Record<string, DiagnosisEntry>>;

/** A stable code of `DIAGNOSES`. */
export type DiagnosisCode = keyof typeof DIAGNOSES;

/** Whether `code` is in the table. */
export function isDiagnosisCode(code: string): code is DiagnosisCode {
  return Object.hasOwn(DIAGNOSES, code);
}

/** What another attempt after this diagnosis would spend; a code that the table does not know spends the user's. */
export function budgetOf(code: string): DiagnosisEntry['budget'] {
  return isDiagnosisCode(code) ? DIAGNOSES[code].budget : 'user';
}

const MAX_EVIDENCE_TEXT = 500;
const MAX_EVIDENCE = 8;

function evidenceOf({ pod, container, message, events }: DiagnosisFacts): Diagnosis['evidence'] {
  const evidence: { kind: string; text: string }[] = [];
  const add = (kind: string, text: string): void => {
    if (evidence.length < MAX_EVIDENCE) evidence.push({ kind, text: text.slice(0, MAX_EVIDENCE_TEXT) });
  };
  if (container !== undefined) {
    const { name, state, reason, exitCode } = container;
    const code = exitCode === undefined ? '' : ` exit code ${String(exitCode)}`;
    add(
      'container',
      `${name} ${state}${code}${reason === undefined ? '' : ` ${reason}`}${afterColon(container.message)}`,
    );
  }
  if (pod !== undefined) {
    add(
      'pod',
      `${pod.namespace}/${pod.name} ${pod.phase}${pod.reason === undefined ? '' : ` ${pod.reason}`}${afterColon(pod.message)}`,
    );
    if (pod.unschedulable !== undefined)
      add('condition', `PodScheduled=False ${pod.unschedulable.reason}${afterColon(pod.unschedulable.message)}`);
    if (pod.disruption !== undefined) add('condition', `DisruptionTarget ${pod.disruption}`);
  }
  if (message !== undefined && message !== '') add('message', message);
  for (const event of events ?? [])
    if (event.type === 'Warning') add('event', `${event.reason}${afterColon(event.message)}`);
  return evidence;
}

/** The diagnosis of a code with the facts of this run. */
export function diagnosisOf(code: DiagnosisCode, facts: DiagnosisFacts = {}): Diagnosis {
  const entry: DiagnosisEntry = DIAGNOSES[code];
  return {
    code,
    category: entry.category,
    summary: entry.summary(facts),
    evidence: evidenceOf(facts),
    hint: entry.hint,
    ...(facts.problems === undefined ? {} : { problems: facts.problems.map((problem) => ({ ...problem })) }),
  };
}

/** Codes that triggers use as `reason` beside the table's own. */
const REASON_ALIASES: Readonly<Record<string, DiagnosisCode>> = { NOT_WATCHED: 'NAMESPACE_NOT_WATCHED' };

/** The container that an ended or hopeless pod's verdict is about: the base container if it ended badly, else the first that did. */
export function decidingContainer(pod: PodProjection): ContainerProjection | undefined {
  const bad = (one: ContainerProjection): boolean =>
    (one.state === 'terminated' && one.exitCode !== 0) || (one.state === 'waiting' && one.reason !== undefined);
  const base = pod.containers.find(({ name, kind }) => kind === 'main' && name === pod.baseContainer);
  if (base?.state === 'terminated') return base;
  return (
    pod.containers.find((one) => one.kind === 'init' && one.state === 'terminated' && bad(one)) ??
    pod.containers.find(bad) ??
    base
  );
}

/** Why an attempt that this event ended did not succeed; `undefined` for events that end nothing, and for success. */
export function diagnose(event: TriggerEvent, facts: Pick<DiagnosisFacts, 'events'> = {}): Diagnosis | undefined {
  if (event.kind === 'success' || event.kind === 'running' || event.kind === 'timer') return undefined;
  const reason = event.reason ?? '';
  const fallback = event.kind === 'gone' ? 'POD_DELETED' : 'TERMINATED_UNKNOWN';
  const code = isDiagnosisCode(reason) ? reason : (REASON_ALIASES[reason] ?? fallback);
  const { pod } = event;
  const container = pod === undefined || code === 'EXECUTION_TIMEOUT' ? undefined : decidingContainer(pod);
  return diagnosisOf(code, { ...facts, pod, container, message: event.message });
}
