/** Every option of the executor, once: section, default, kind, and what it says. @see spec executor §2.1, §2.2 */

/** How an option's text is read. `json`: an object. `list`: separated by commas, trimmed, blanks dropped. */
export type OptionKind = 'text' | 'boolean' | 'integer' | 'seconds' | 'json' | 'list';

/** One option. */
export interface ExecutorOption {
  readonly section: string;
  readonly kind: OptionKind;
  /** As one would write it; `undefined`: unset. */
  readonly default: string | undefined;
  /** One sentence. */
  readonly description: string;
  /** Least whole number or number of seconds. */
  readonly least?: number;
}

const SECTION = 'kubernetes_executor';

/** By the seed's names, so that a configuration can be taken over as it is. */
export const EXECUTOR_OPTIONS = {
  parallelism: { section: 'core', kind: 'integer', default: '32', least: 1, description: 'Tasks at once: the slots.' },
  dags_folder: { section: 'core', kind: 'text', default: undefined, description: 'Where workers find their dags.' },
  api_client_retry_configuration: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Accepted and checked; calls that may be repeated are repeated by the connection.',
  },
  logs_task_metadata: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Whether annotations of tasks are shown in logs; otherwise `<omitted>`.',
  },
  running_pod_log_lines: {
    section: SECTION,
    kind: 'integer',
    default: '100',
    least: 1,
    description: 'Lines of a running pod’s log that are shown.',
  },
  pod_template_file: { section: SECTION, kind: 'text', default: '', description: 'Template of every pod.' },
  worker_container_repository: {
    section: SECTION,
    kind: 'text',
    default: '',
    description: 'Image of the tasks, without its tag; used only together with the tag.',
  },
  worker_container_tag: { section: SECTION, kind: 'text', default: '', description: 'Tag of that image.' },
  namespace: { section: SECTION, kind: 'text', default: 'default', description: 'Where pods are created.' },
  delete_worker_pods: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Deletes pods once their end is accounted for; otherwise they are marked as done.',
  },
  delete_worker_pods_on_failure: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Deletes failed pods, too; otherwise they are kept.',
  },
  worker_pod_pending_fatal_container_state_reasons: {
    section: SECTION,
    kind: 'list',
    default: 'CreateContainerConfigError,ErrImagePull,CreateContainerError,ImageInspectError,InvalidImageName',
    description: 'Reasons of waiting containers that end a pending pod; empty: none does.',
  },
  worker_pods_creation_batch_size: {
    section: SECTION,
    kind: 'integer',
    default: '1',
    least: 1,
    description: 'Pods created in one sync at most.',
  },
  async_pod_creation: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Creates a batch concurrently.',
  },
  pod_creation_max_concurrency: {
    section: SECTION,
    kind: 'integer',
    default: '0',
    least: 0,
    description: 'Creations in flight at most, when concurrent; 0: the batch size.',
  },
  multi_namespace_mode: {
    section: SECTION,
    kind: 'boolean',
    default: 'False',
    description: 'Watches several namespaces.',
  },
  multi_namespace_mode_namespace_list: {
    section: SECTION,
    kind: 'list',
    default: '',
    description: 'Which ones; empty: all of the cluster.',
  },
  in_cluster: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Uses the service account of its own pod.',
  },
  cluster_context: { section: SECTION, kind: 'text', default: undefined, description: 'Context of the kubeconfig.' },
  config_file: { section: SECTION, kind: 'text', default: undefined, description: 'Path of the kubeconfig.' },
  kube_client_request_args: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Accepted and checked; deadlines are the connection’s.',
  },
  delete_option_kwargs: {
    section: SECTION,
    kind: 'json',
    default: '',
    description: 'Options of deletions: `grace_period_seconds`.',
  },
  enable_tcp_keepalive: {
    section: SECTION,
    kind: 'boolean',
    default: 'True',
    description: 'Accepted; connections have it.',
  },
  tcp_keep_idle: { section: SECTION, kind: 'integer', default: '120', description: 'Accepted.' },
  tcp_keep_intvl: { section: SECTION, kind: 'integer', default: '30', description: 'Accepted.' },
  tcp_keep_cnt: { section: SECTION, kind: 'integer', default: '6', description: 'Accepted.' },
  verify_ssl: { section: SECTION, kind: 'boolean', default: 'True', description: 'Accepted; a kubeconfig decides.' },
  ssl_ca_cert: { section: SECTION, kind: 'text', default: '', description: 'Accepted; a kubeconfig decides.' },
  task_publish_max_retries: {
    section: SECTION,
    kind: 'integer',
    default: '0',
    least: -1,
    description: 'How often a task is put back when its creation is refused for now; -1: without limit.',
  },
  pod_launch_failure_retries: {
    section: SECTION,
    kind: 'integer',
    default: '1',
    least: -1,
    description: 'How often a task gets another pod when one dies before the task began; -1: without limit.',
  },
  pod_launch_failure_excluded_container_reasons: {
    section: SECTION,
    kind: 'list',
    default: 'Error',
    description: 'Reasons of containers that never count as such a death.',
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
    description: 'How often queued tasks without a pod are looked for.',
  },
  worker_pods_pending_timeout: {
    section: SECTION,
    kind: 'seconds',
    default: '300',
    least: 0,
    description: 'Age at which a pending pod is deleted, by whoever asks for it.',
  },
  worker_pods_pending_timeout_batch_size: {
    section: SECTION,
    kind: 'integer',
    default: '100',
    least: 1,
    description: 'Pending pods deleted at once.',
  },
  orphaned_tasks_check_interval: {
    section: 'scheduler',
    kind: 'seconds',
    default: '300.0',
    least: 0,
    description: 'How often finished pods of owners that are gone, and pods that vanished, are looked for.',
  },
  scheduler_health_check_threshold: {
    section: 'scheduler',
    kind: 'seconds',
    default: '30',
    least: 0,
    description: 'Silence after which a sibling counts as gone.',
  },
  task_queued_timeout: {
    section: 'scheduler',
    kind: 'seconds',
    default: '600.0',
    least: 0,
    description: 'How long a task may be queued before it is taken back.',
  },
  task_queued_timeout_check_interval: {
    section: 'scheduler',
    kind: 'seconds',
    default: '120.0',
    least: 0,
    description: 'How often that is looked at.',
  },
  num_stuck_in_queued_retries: {
    section: 'scheduler',
    kind: 'integer',
    default: '2',
    least: 0,
    description: 'How often a task that was taken back is queued again before it fails.',
  },
  kubernetes_queue: {
    section: 'local_kubernetes_executor',
    kind: 'text',
    default: 'kubernetes',
    description: 'Queue of the tasks that go to Kubernetes, where there are others.',
  },
  api_retries: {
    section: 'workers',
    kind: 'integer',
    default: '5',
    least: 0,
    description: 'Tries of a call of the operator.',
  },
  api_retry_wait_min: {
    section: 'workers',
    kind: 'seconds',
    default: '1.0',
    least: 0,
    description: 'First wait between them.',
  },
  api_retry_wait_max: { section: 'workers', kind: 'seconds', default: '15.0', least: 0, description: 'Longest wait.' },
} as const satisfies Readonly<Record<string, ExecutorOption>>;

/** Name of an option. */
export type OptionName = keyof typeof EXECUTOR_OPTIONS;

const TRUE: ReadonlySet<string> = new Set(['t', 'true', '1']);
const FALSE: ReadonlySet<string> = new Set(['f', 'false', '0']);

/** A text as what it stands for, or what is wrong with it. */
export type ParsedOption<T> = { readonly value: T } | { readonly problem: string };

/** `t`, `true`, `1` and their opposites, in any case. */
export function readBoolean(text: string): ParsedOption<boolean> {
  const word = text.trim().toLowerCase();
  if (TRUE.has(word)) return { value: true };
  if (FALSE.has(word)) return { value: false };
  return { problem: `must be true or false, not ${JSON.stringify(text)}` };
}

/** A whole number of at least `least`. */
export function readInteger(text: string, least = Number.NEGATIVE_INFINITY): ParsedOption<number> {
  if (!/^\s*[+-]?\d+\s*$/.test(text)) return { problem: `must be a whole number, not ${JSON.stringify(text)}` };
  const value = Number(text);
  return value < least ? { problem: `must be at least ${least}, not ${value}` } : { value };
}

/** A number of seconds of at least `least`. */
export function readSeconds(text: string, least = 0): ParsedOption<number> {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) return { problem: `must be a number of seconds, not ${JSON.stringify(text)}` };
  return value < least ? { problem: `must be at least ${least}, not ${value}` } : { value };
}

/** A JSON object; an empty text is an empty one. */
export function readJson(text: string): ParsedOption<Readonly<Record<string, unknown>>> {
  if (text.trim() === '') return { value: {} };
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { value: { ...value } };
  } catch {
    // Said below.
  }
  return { problem: 'must be a JSON object' };
}

/** Words between commas, trimmed, blanks dropped. */
export function readList(text: string): readonly string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
