/** Every configuration option of the Kubernetes executor: section, kind, default, description; and how its text is parsed. */

/** How an option's text is parsed. `json`: an object. `list`: comma-separated, trimmed, blanks dropped. */
export type OptionKind = 'text' | 'boolean' | 'integer' | 'seconds' | 'json' | 'list';

/** One option. */
export interface ExecutorOption {
  readonly section: string;
  readonly kind: OptionKind;
  /** As it would be written; `undefined`: unset. */
  readonly default: string | undefined;
  /** One sentence, for the manual. */
  readonly description: string;
  /** Smallest allowed number. */
  readonly least?: number;
}

const SECTION = 'kubernetes_executor';

/** By Airflow's names, so that an Airflow configuration can be used as it is. */
export const EXECUTOR_OPTIONS = {
  parallelism: {
    section: 'core',
    kind: 'integer',
    default: '32',
    least: 1,
    description: 'Number of slots: tasks that run at the same time.',
  },
  dags_folder: {
    section: 'core',
    kind: 'text',
    default: undefined,
    description: 'Folder where workers find their dags.',
  },
  api_client_retry_configuration: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Checked but not used; the connection retries calls that are safe to repeat.',
  },
  logs_task_metadata: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Show task annotations in logs; otherwise `<omitted>`.',
  },
  running_pod_log_lines: {
    section: SECTION,
    kind: 'integer',
    default: '100',
    least: 1,
    description: 'Number of lines shown of a running pod’s log.',
  },
  pod_template_file: { section: SECTION, kind: 'text', default: '', description: 'Path of the template of every pod.' },
  worker_container_repository: {
    section: SECTION,
    kind: 'text',
    default: '',
    description: 'Image of the tasks without its tag; used only together with the tag.',
  },
  worker_container_tag: { section: SECTION, kind: 'text', default: '', description: 'Tag of that image.' },
  namespace: { section: SECTION, kind: 'text', default: 'default', description: 'Namespace where pods are created.' },
  delete_worker_pods: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Delete pods once their result was applied; otherwise they are labelled as done.',
  },
  delete_worker_pods_on_failure: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Delete failed pods as well; otherwise they are kept.',
  },
  worker_pod_pending_fatal_container_state_reasons: {
    section: SECTION,
    kind: 'list',
    default: 'CreateContainerConfigError,ErrImagePull,CreateContainerError,ImageInspectError,InvalidImageName',
    description: 'Waiting reasons with which a pending pod counts as failed; empty: none.',
  },
  worker_pods_creation_batch_size: {
    section: SECTION,
    kind: 'integer',
    default: '1',
    least: 1,
    description: 'Maximum number of pods created in one sync.',
  },
  async_pod_creation: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Create the pods of a batch concurrently.',
  },
  pod_creation_max_concurrency: {
    section: SECTION,
    kind: 'integer',
    default: '0',
    least: 0,
    description: 'Maximum number of concurrent creations; 0: the batch size.',
  },
  multi_namespace_mode: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Watch several namespaces.',
  },
  multi_namespace_mode_namespace_list: {
    section: SECTION,
    kind: 'list',
    default: '',
    description: 'Namespaces to watch; empty: the whole cluster.',
  },
  in_cluster: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Use the service account of the executor’s own pod.',
  },
  cluster_context: {
    section: SECTION,
    kind: 'text',
    default: undefined,
    description: 'Context of the kubeconfig to use.',
  },
  config_file: { section: SECTION, kind: 'text', default: undefined, description: 'Path of the kubeconfig.' },
  kube_client_request_args: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Checked but not used; the connection sets the deadlines.',
  },
  delete_option_kwargs: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Options of pod deletions: `grace_period_seconds`.',
  },
  enable_tcp_keepalive: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Accepted but not used; connections always use keep-alive.',
  },
  tcp_keep_idle: { section: SECTION, kind: 'integer', default: '120', description: 'Accepted but not used.' },
  tcp_keep_intvl: { section: SECTION, kind: 'integer', default: '30', description: 'Accepted but not used.' },
  tcp_keep_cnt: { section: SECTION, kind: 'integer', default: '6', description: 'Accepted but not used.' },
  verify_ssl: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Accepted but not used; the kubeconfig decides.',
  },
  ssl_ca_cert: {
    section: SECTION,
    kind: 'text',
    default: '',
    description: 'Accepted but not used; the kubeconfig decides.',
  },
  task_publish_max_retries: {
    section: SECTION,
    kind: 'integer',
    default: '0',
    least: -1,
    description:
      'How often a task is requeued when the creation of its pod is refused for a transient reason; -1: unlimited.',
  },
  pod_launch_failure_retries: {
    section: SECTION,
    kind: 'integer',
    default: '1',
    least: -1,
    description: 'How often a task gets another pod when a pod dies before the task began; -1: unlimited.',
  },
  pod_launch_failure_excluded_container_reasons: {
    section: SECTION,
    kind: 'list',
    default: 'Error',
    description: 'Container reasons that never count as such a death.',
  },
  client_factory: {
    section: SECTION,
    kind: 'text',
    default: undefined,
    description: 'Refused: pass a `Cluster` instead.',
  },
  async_client_factory: {
    section: SECTION,
    kind: 'text',
    default: undefined,
    description: 'Refused: pass a `Cluster` instead.',
  },
  worker_pods_queued_check_interval: {
    section: SECTION,
    kind: 'seconds',
    default: '60',
    least: 0,
    description: 'Interval at which queued tasks without a pod are searched for.',
  },
  worker_pods_pending_timeout: {
    section: SECTION,
    kind: 'seconds',
    default: '300',
    least: 0,
    description: 'Age at which `checkWorkerPodsPendingTimeout` deletes a pending pod.',
  },
  worker_pods_pending_timeout_batch_size: {
    section: SECTION,
    kind: 'integer',
    default: '100',
    least: 1,
    description: 'Maximum number of pending pods deleted in one call.',
  },
  orphaned_tasks_check_interval: {
    section: 'scheduler',
    kind: 'seconds',
    default: '300.0',
    least: 0,
    description: 'Interval at which finished pods of dead schedulers, and pods that vanished, are searched for.',
  },
  scheduler_health_check_threshold: {
    section: 'scheduler',
    kind: 'seconds',
    default: '30',
    least: 0,
    description: 'Time without a heartbeat after which a scheduler counts as dead.',
  },
  task_queued_timeout: {
    section: 'scheduler',
    kind: 'seconds',
    default: '600.0',
    least: 0,
    description: 'How long the pod of a task may stay pending before the task is revoked.',
  },
  task_queued_timeout_check_interval: {
    section: 'scheduler',
    kind: 'seconds',
    default: '120.0',
    least: 0,
    description: 'Interval of that check.',
  },
  num_stuck_in_queued_retries: {
    section: 'scheduler',
    kind: 'integer',
    default: '2',
    least: 0,
    description: 'How often a revoked task is queued again before it fails.',
  },
  kubernetes_queue: {
    section: 'local_kubernetes_executor',
    kind: 'text',
    default: 'kubernetes',
    description: 'Queue of the tasks that run on Kubernetes when there are several executors.',
  },
  api_retries: {
    section: 'workers',
    kind: 'integer',
    default: '5',
    least: 0,
    description: 'Attempts of an API call of the operator.',
  },
  api_retry_wait_min: {
    section: 'workers',
    kind: 'seconds',
    default: '1.0',
    least: 0,
    description: 'First wait between attempts.',
  },
  api_retry_wait_max: {
    section: 'workers',
    kind: 'seconds',
    default: '15.0',
    least: 0,
    description: 'Longest wait between attempts.',
  },
} as const satisfies Readonly<Record<string, ExecutorOption>>;

/** Name of an option. */
export type OptionName = keyof typeof EXECUTOR_OPTIONS;

const TRUE: ReadonlySet<string> = new Set(['t', 'true', '1']);
const FALSE: ReadonlySet<string> = new Set(['f', 'false', '0']);

/** The parsed value of an option's text, or what is wrong with it. */
export type ParsedOption<T> = { readonly value: T } | { readonly problem: string };

/** Parses `t`, `true`, `1`, `f`, `false`, `0`, in any case. */
export function readBoolean(text: string): ParsedOption<boolean> {
  const value = text.trim().toLowerCase();
  if (TRUE.has(value)) return { value: true };
  if (FALSE.has(value)) return { value: false };
  return { problem: `must be true or false, not ${JSON.stringify(text)}` };
}

/** Parses a whole number of at least `least`. */
export function readInteger(text: string, least = Number.NEGATIVE_INFINITY): ParsedOption<number> {
  if (!/^\s*[+-]?\d+\s*$/.test(text)) return { problem: `must be a whole number, not ${JSON.stringify(text)}` };
  const value = Number(text);
  return value < least ? { problem: `must be at least ${least}, not ${value}` } : { value };
}

/** Parses a number of seconds of at least `least`. */
export function readSeconds(text: string, least = 0): ParsedOption<number> {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) return { problem: `must be a number of seconds, not ${JSON.stringify(text)}` };
  return value < least ? { problem: `must be at least ${least}, not ${value}` } : { value };
}

/** Parses a JSON object; blank text is an empty object. */
export function readJson(text: string): ParsedOption<Readonly<Record<string, unknown>>> {
  if (text.trim() === '') return { value: {} };
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { value: { ...value } };
  } catch {
    // Reported below.
  }
  return { problem: 'must be a JSON object' };
}

/** Splits a comma-separated list; entries are trimmed, blanks dropped. */
export function readList(text: string): readonly string[] {
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}
