/** All diagnosis codes: what each means, whose failure it is, and what to do. */
import type { Diagnosis } from '../../wire/outcome.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';
import { decidingContainer } from '../pod/projection.ts';
import type { ContainerProjection, PodProjection } from '../pod/projection.ts';

/** Facts that a summary can mention; all are optional. */
export interface DiagnosisFacts {
  readonly pod?: PodProjection | undefined;
  /** The container that decided. */
  readonly container?: ContainerProjection | undefined;
  /** Message of the API, the kubelet or the caller. */
  readonly message?: string | undefined;
  /** What the diagnosis is about when there is no pod: a name, a connection, a limit. */
  readonly subject?: string | undefined;
  readonly events?: readonly { readonly type: string; readonly reason: string; readonly message: string }[] | undefined;
  readonly problems?: readonly { readonly path: string; readonly message: string }[] | undefined;
}

/** One row of the table. */
export interface DiagnosisEntry {
  readonly category: Diagnosis['category'];
  /** Which budget another attempt is charged to; `none`: there is no other attempt. */
  readonly budget: 'user' | 'infrastructure' | 'none';
  /** What the code means, for `explain CODE` and the README. */
  readonly meaning: string;
  /** One sentence about this run. */
  readonly summary: (facts: DiagnosisFacts) => string;
  readonly hint: string;
}

const containerName = ({ container, pod }: DiagnosisFacts): string => container?.name ?? pod?.baseContainer ?? 'base';
const detail = (message: string | undefined): string => {
  const line = message?.trim().split('\n')[0]?.slice(0, 300) ?? '';
  return line === '' ? '' : `: ${line}`;
};
const reported = (facts: DiagnosisFacts): string =>
  detail(facts.message ?? facts.container?.message ?? facts.pod?.message);
const node = ({ pod }: DiagnosisFacts): string => (pod?.node === undefined ? '' : ` on node ${pod.node}`);
const exit = ({ container }: DiagnosisFacts): string => {
  if (container?.exitCode === undefined) return 'ended without an exit code';
  const signal =
    container.signal ?? (container.exitCode > 128 && container.exitCode < 160 ? container.exitCode - 128 : 0);
  return `exited with code ${String(container.exitCode)}${signal > 0 ? ` (signal ${String(signal)})` : ''}`;
};
/** Kueue's scheduling gate on pods. @see https://kueue.sigs.k8s.io/docs/tasks/run/plain_pods/ */
const KUEUE_GATE = 'kueue.x-k8s.io/admission';
const gatesOf = ({ pod }: DiagnosisFacts): string =>
  pod?.gates?.split(',').includes(KUEUE_GATE) === true
    ? 'Kueue to admit it'
    : `its scheduling gates to be removed (${pod?.gates ?? ''})`;
const about = ({ subject }: DiagnosisFacts): string => (subject === undefined ? '' : ` ${subject}`);

/** All codes. They are stable: callers switch on them. */
export const DIAGNOSES = {
  CONTAINER_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'The base container exited with a code other than 0.',
    summary: (f) => `Container ${containerName(f)} ${exit(f)}${reported(f)}`,
    hint: 'Read the run’s log. The exit code comes from the program itself.',
  },
  OOM_KILLED: {
    category: 'user',
    budget: 'user',
    meaning: 'A container used more memory than its limit and was killed by the kernel.',
    summary: (f) => `Container ${containerName(f)} ran out of memory and was killed`,
    hint: 'Raise containerResources.limits.memory, or reduce the program’s memory use.',
  },
  INIT_CONTAINER_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'An init container exited with a code other than 0, so the base container never ran.',
    summary: (f) => `Init container ${containerName(f)} ${exit(f)}${reported(f)}`,
    hint: 'Read that container’s log; initContainerLogs: true stores it with the run.',
  },
  IMAGE_PULL_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'The image cannot be pulled: it does not exist, or the credentials do not allow it.',
    summary: (f) => `The image of container ${containerName(f)} cannot be pulled${reported(f)}`,
    hint: 'Check the image’s name and tag. For a private registry, also check imagePullSecrets.',
  },
  IMAGE_PULL_THROTTLED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The registry limits pulls, or pulls fail temporarily.',
    summary: (f) =>
      `The registry does not serve the image of container ${containerName(f)} at the moment${reported(f)}`,
    hint: 'The attempt is repeated without using one of the run’s retries. Use a pull-through cache or authenticated pulls.',
  },
  INVALID_IMAGE_NAME: {
    category: 'user',
    budget: 'none',
    meaning: 'The image reference is not valid.',
    summary: (f) => `Container ${containerName(f)} has an invalid image reference${reported(f)}`,
    hint: 'Correct `image`: [registry/]repository[:tag|@digest], lower case.',
  },
  CONTAINER_CONFIG_ERROR: {
    category: 'user',
    budget: 'user',
    meaning:
      'The container cannot be created: a Secret, ConfigMap, key or volume that it references does not exist, or its user is not allowed.',
    summary: (f) => `Container ${containerName(f)} cannot be configured${reported(f)}`,
    hint: 'Create the missing object in the pod’s namespace, or correct the reference.',
  },
  CONTAINER_CANNOT_RUN: {
    category: 'user',
    budget: 'user',
    meaning: 'The container’s command could not be started.',
    summary: (f) => `Container ${containerName(f)} could not be started${reported(f)}`,
    hint: 'Check that the program in `cmds` exists in the image and is executable.',
  },
  UNSCHEDULABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod waits for a node: the scheduler finds none that fits.',
    summary: (f) => `No node fits the pod at the moment${detail(f.pod?.unschedulable?.message ?? f.message)}`,
    hint: 'Lower the resource requests, relax nodeSelector or affinity, add tolerations, or add nodes. scheduleTimeoutSeconds limits the wait.',
  },
  SCHEDULE_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'The pod was not scheduled to a node within scheduleTimeoutSeconds.',
    summary: (f) => `The pod was not scheduled in time${detail(f.pod?.unschedulable?.message ?? f.message)}`,
    hint: 'Lower the resource requests, relax nodeSelector or affinity, add tolerations, add nodes, or raise scheduleTimeoutSeconds.',
  },
  STARTUP_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'The pod did not start within startupTimeoutSeconds.',
    summary: (f) => `The pod did not start in time${node(f)}${reported(f)}`,
    hint: 'The pod’s events show what it waited for. Raise startupTimeoutSeconds for large images or slow init containers.',
  },
  STUCK_QUEUED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod of a command run did not start in time and was replaced.',
    summary: (f) => `The pod did not start in time and is being replaced${node(f)}${reported(f)}`,
    hint: 'The pod’s events show what it waited for. Raise executorQueuedTimeoutSeconds if nodes are slow to start.',
  },
  EXECUTION_TIMEOUT: {
    category: 'timeout',
    budget: 'user',
    meaning: 'The attempt took longer than executionTimeoutSeconds.',
    summary: () => 'The attempt exceeded its execution time-out and was stopped',
    hint: 'Raise executionTimeoutSeconds, or split the work.',
  },
  DEADLINE_EXCEEDED: {
    category: 'timeout',
    budget: 'user',
    meaning: 'Kubernetes ended the pod at its activeDeadlineSeconds.',
    summary: (f) => `The pod exceeded its activeDeadlineSeconds${reported(f)}`,
    hint: 'Raise activeDeadlineSeconds.',
  },
  EVICTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The kubelet or the eviction API evicted the pod.',
    summary: (f) => `The pod was evicted${node(f)}${reported(f)}`,
    hint: 'The attempt is repeated. If this happens again, set requests and limits for memory and ephemeral-storage.',
  },
  PREEMPTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod was removed to make room for a pod of higher priority.',
    summary: (f) => `The pod was preempted${node(f)}${reported(f)}`,
    hint: 'The attempt is repeated. Set priorityClassName if the run must not be preempted.',
  },
  NODE_LOST: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node became unreachable or was removed while the pod ran on it.',
    summary: (f) => `The pod’s node was lost${node(f)}`,
    hint: 'The attempt is repeated. Check the node.',
  },
  NODE_SHUTDOWN: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The node shut down and terminated its pods.',
    summary: (f) => `The node shut down${node(f)}${reported(f)}`,
    hint: 'The attempt is repeated.',
  },
  POD_DELETED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod was deleted by another client before it ended.',
    summary: (f) =>
      `The pod${f.pod === undefined ? '' : ` ${f.pod.namespace}/${f.pod.name}`} was deleted before it ended`,
    hint: 'The attempt is repeated. To stop a run, cancel it instead of deleting its pod.',
  },
  POD_STUCK_TERMINATING: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod was deleted and still exists long after its grace period.',
    summary: (f) => `The pod does not terminate${node(f)}`,
    hint: 'Check the node and the pod’s finalizers. `kubectl delete --force` frees the name, but the process may keep running.',
  },
  PODS_AMBIGUOUS: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'Several live pods of earlier attempts exist, so it is unknown which one belongs to the run.',
    summary: (f) => `Several live pods of this run exist${f.subject === undefined ? '' : `: ${f.subject}`}`,
    hint: 'Delete all but one of them, or set reattachOnRestart to false.',
  },
  POD_NAME_TAKEN: {
    category: 'request',
    budget: 'none',
    meaning: 'A pod that does not belong to this run has the name that its pod must have.',
    summary: (f) => `A pod of another owner has the name${about(f)}`,
    hint: 'Leave randomNameSuffix at true, or choose another name.',
  },
  POD_REJECTED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The kubelet refused the pod after it was scheduled (no room any more, or an admission check failed).',
    summary: (f) => `The node refused the pod${node(f)}${reported(f)}`,
    hint: 'The attempt is repeated with a new pod.',
  },
  NAMESPACE_NOT_FOUND: {
    category: 'request',
    budget: 'none',
    meaning: 'The namespace does not exist or is being deleted.',
    summary: (f) => `Namespace${about(f)} does not exist or is being deleted`,
    hint: 'Create the namespace, or set `namespace` to another one.',
  },
  NAMESPACE_NOT_WATCHED: {
    category: 'request',
    budget: 'none',
    meaning: 'This installation does not watch the namespace.',
    summary: (f) => `Namespace${about(f)} is not watched by this installation`,
    hint: 'Use a watched namespace, or add this one to REENTRY_NAMESPACES of workers and triggerers.',
  },
  PERMISSION_DENIED: {
    category: 'request',
    budget: 'none',
    meaning: 'The credentials of the connection lack a permission.',
    summary: (f) => `The cluster refused the request${reported(f)}`,
    hint: 'Grant the permission in the message to the worker’s service account.',
  },
  ADMISSION_REFUSED: {
    category: 'request',
    budget: 'none',
    meaning:
      'An admission rule of the cluster refuses the pod: its priority class, Pod Security, a limit range, its service account.',
    summary: (f) => `The cluster refused the pod${reported(f)}`,
    hint: 'Change what the message names in the request, or the rule in the cluster.',
  },
  QUOTA_EXCEEDED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The namespace’s ResourceQuota has no room for the pod at the moment.',
    summary: (f) => `The namespace’s quota is used up${reported(f)}`,
    hint: 'The launch is retried automatically. If this lasts, raise the ResourceQuota.',
  },
  API_THROTTLED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server limits the rate of requests.',
    summary: (f) => `The API server throttles requests${reported(f)}`,
    hint: 'Retried automatically.',
  },
  API_UNAVAILABLE: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server cannot be reached or returns errors.',
    summary: (f) => `The API server is unavailable${reported(f)}`,
    hint: 'Retried automatically. `reentry doctor` checks the connection.',
  },
  API_UNAUTHORIZED: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The API server does not accept the connection’s credentials.',
    summary: (f) => `The API server refused the connection’s credentials${reported(f)}`,
    hint: 'Renew the connection’s token or certificate; the launch is retried automatically.',
  },
  CONNECTION_UNREACHABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The run waits: its connection’s API server cannot be reached. No pod is created meanwhile.',
    summary: (f) => `The run waits for connection${about(f)}${detail(f.message)}`,
    hint: 'The run goes on when the connection works again; it uses none of its retries. `reentry doctor` checks the connection.',
  },
  PERMISSIONS_MISSING: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The run waits: the connection lacks permissions in the run’s namespace, or the namespace is missing.',
    summary: (f) => `The run waits for namespace${about(f)}${detail(f.message)}`,
    hint: 'Grant the permissions by a Role or ClusterRole, create the namespace, or remove it from REENTRY_NAMESPACES. The run then goes on; it uses none of its retries.',
  },
  UNKNOWN_CONNECTION: {
    category: 'request',
    budget: 'none',
    meaning: 'The connection in the request is not configured.',
    summary: (f) => `Connection${about(f)} is not configured${reported(f)}`,
    hint: 'Use a configured connection in kubernetesConnId, or add this one to REENTRY_CONNECTIONS.',
  },
  INVALID_REQUEST: {
    category: 'request',
    budget: 'none',
    meaning: 'The request is not valid.',
    summary: (f) => {
      const first = f.problems?.[0];
      const more = (f.problems?.length ?? 0) - 1;
      if (first === undefined) return `The request is invalid${reported(f)}`;
      return `The request is invalid: ${first.path}: ${first.message}${more > 0 ? ` (and ${String(more)} more)` : ''}`;
    },
    hint: 'Correct the fields listed in `problems`. `reentry schema` prints the schema; `reentry submit` checks a request before sending it.',
  },
  POLICY_REFUSED: {
    category: 'request',
    budget: 'none',
    meaning: 'The tenant’s policy does not allow the pod.',
    summary: (f) => {
      const first = f.problems?.[0];
      const more = (f.problems?.length ?? 0) - 1;
      if (first === undefined) return `The tenant’s policy refuses the pod${reported(f)}`;
      return `The tenant’s policy refuses ${first.path}: ${first.message}${more > 0 ? ` (and ${String(more)} more)` : ''}`;
    },
    hint: 'Change the fields listed in `problems`, or ask the administrator to change the rule named there (REENTRY_POLICY).',
  },
  POLICY_UNAVAILABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The run waits: the policy file has not been valid since this worker started, so no pod may be created.',
    summary: (f) => `The run waits for a valid policy${detail(f.message)}`,
    hint: 'Ask the administrator to correct the policy file (REENTRY_POLICY). The run then goes on; it uses none of its retries.',
  },
  RUN_ID_TAKEN: {
    category: 'request',
    budget: 'none',
    meaning: 'A run with this id exists for a different request.',
    summary: (f) => `Run id${about(f)} is used by a different request`,
    hint: 'Use a new run id for each request.',
  },
  SCHEDULING_GATED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The pod has scheduling gates: a controller such as Kueue has not released it to the scheduler yet.',
    summary: (f) => `The pod waits for ${gatesOf(f)}`,
    hint: 'scheduleTimeoutSeconds and startupTimeoutSeconds do not count meanwhile. With Kueue, check the Workload and the quota of its LocalQueue.',
  },
  QUEUE_PAUSED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The run’s queue is paused: requests are accepted, but no run starts.',
    summary: (f) => `Queue${about(f)} is paused${detail(f.message)}`,
    hint: '`reentry queue resume QUEUE` starts the waiting runs.',
  },
  QUEUE_TURN: {
    category: 'infrastructure',
    budget: 'none',
    meaning:
      'More runs are ready than can be started at once. Tenants take turns; each tenant’s runs start by priority and age.',
    summary: (f) => `The run waits for its turn in queue${about(f)}${detail(f.message)}`,
    hint: 'Add workers or raise REENTRY_START_CREDITS to start more runs at once. `priority` orders a tenant’s own runs.',
  },
  CONCURRENCY_LIMIT: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The maximum number of runs with the same concurrencyKey is running.',
    summary: (f) => `All concurrency slots of key${about(f)} are taken${detail(f.message)}`,
    hint: 'The run starts when one of them ends. REENTRY_CONCURRENCY_LIMITS of the workers sets the maximum.',
  },
  EXPIRED: {
    category: 'timeout',
    budget: 'none',
    meaning: 'The run’s pod was not created within expireSeconds.',
    summary: () => 'The run expired before its pod was created',
    hint: 'Raise expireSeconds, or add workers to the queue.',
  },
  CANCELLED: {
    category: 'cancelled',
    budget: 'none',
    meaning: 'The run was cancelled.',
    summary: (f) => `The run was cancelled${detail(f.message)}`,
    hint: 'Submit it again under another run id.',
  },
  OPERATOR_FAILED: {
    category: 'user',
    budget: 'user',
    meaning: 'A custom operator reported that the attempt failed.',
    summary: (f) => `The operator reported a failure${detail(f.message)}`,
    hint: 'The message comes from the operator. See its documentation and the worker’s log.',
  },
  OPERATOR_SKIPPED: {
    category: 'user',
    budget: 'none',
    meaning: 'A custom operator skipped the run.',
    summary: (f) => `The operator skipped the run${detail(f.message)}`,
    hint: 'No action is needed.',
  },
  DEAD_LETTERED: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'Processing the run failed too often. A copy of the message is in the dead-letter stream.',
    summary: (f) => `The run could not be processed${reported(f)}`,
    hint: 'Inspect the message with `reentry dlq`, and report it as a bug.',
  },
  RESULT_INVALID: {
    category: 'user',
    budget: 'none',
    meaning: 'The run requires a result, and the container left none that is valid JSON.',
    summary: (f) => `Container ${containerName(f)} succeeded but left no JSON result${detail(f.message)}`,
    hint: 'Write one JSON document to /airflow/xcom/return.json, or up to 4 KiB to /dev/termination-log.',
  },
  RESULT_TOO_LARGE: {
    category: 'user',
    budget: 'none',
    meaning: 'The result exceeds the limit of its channel.',
    summary: (f) => `The result of container ${containerName(f)} is too large${detail(f.message)}`,
    hint: 'The limit is 4 KiB for a termination message and 16 MiB for the result file. Store larger results elsewhere and return their address.',
  },
  RESULT_UNREADABLE: {
    category: 'infrastructure',
    budget: 'none',
    meaning: 'The container succeeded, but its result could not be read from the pod.',
    summary: (f) => `Container ${containerName(f)} succeeded, but its result could not be read${detail(f.message)}`,
    hint: 'Check that the worker may `create` and `get` pods/exec, and that the sidecar runs. Results of up to 4 KiB can be returned as the termination message instead (xcomMode: message).',
  },
  TERMINATED_UNKNOWN: {
    category: 'infrastructure',
    budget: 'infrastructure',
    meaning: 'The pod ended with an unknown outcome.',
    summary: (f) => `The pod ended with an unknown outcome${node(f)}${reported(f)}`,
    hint: 'The attempt is repeated.',
  },
} as const satisfies Readonly<Record<string, DiagnosisEntry>>;

/** A stable code of `DIAGNOSES`. */
export type DiagnosisCode = keyof typeof DIAGNOSES;

/** Whether `code` is in the table. */
export function isDiagnosisCode(code: string): code is DiagnosisCode {
  return Object.hasOwn(DIAGNOSES, code);
}

/** The budget that another attempt after this diagnosis is charged to; the user's for a code that the table does not have. */
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
    add('container', `${name} ${state}${code}${reason === undefined ? '' : ` ${reason}`}${detail(container.message)}`);
  }
  if (pod !== undefined) {
    add(
      'pod',
      `${pod.namespace}/${pod.name} ${pod.phase}${pod.reason === undefined ? '' : ` ${pod.reason}`}${detail(pod.message)}`,
    );
    if (pod.unschedulable !== undefined)
      add('condition', `PodScheduled=False ${pod.unschedulable.reason}${detail(pod.unschedulable.message)}`);
    if (pod.disruption !== undefined) add('condition', `DisruptionTarget ${pod.disruption}`);
  }
  if (message !== undefined && message !== '') add('message', message);
  for (const event of events ?? [])
    if (event.type === 'Warning') add('event', `${event.reason}${detail(event.message)}`);
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

/** Reasons that triggers use besides the codes of the table. */
const REASON_ALIASES: Readonly<Record<string, DiagnosisCode>> = { NOT_WATCHED: 'NAMESPACE_NOT_WATCHED' };

/** Why the attempt that this event ended did not succeed; `undefined` for success and for events that end nothing. */
export function diagnose(event: TriggerEvent, facts: Pick<DiagnosisFacts, 'events'> = {}): Diagnosis | undefined {
  if (event.kind === 'success' || event.kind === 'running' || event.kind === 'timer') return undefined;
  const reason = event.reason ?? '';
  const fallback = event.kind === 'gone' ? 'POD_DELETED' : 'TERMINATED_UNKNOWN';
  const code = isDiagnosisCode(reason) ? reason : (REASON_ALIASES[reason] ?? fallback);
  const { pod } = event;
  const container = pod === undefined || code === 'EXECUTION_TIMEOUT' ? undefined : decidingContainer(pod);
  return diagnosisOf(code, { ...facts, pod, container, message: event.message });
}
