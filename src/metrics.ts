/**
 * Every metric, once: its name, type, help text and labels. `Meter` (`ports/ambient.ts`) takes names and labels of this table only, so a
 * misspelt one does not compile. Names follow Prometheus: counters end in `_total`, durations are in seconds, shares are ratios from 0 to 1.
 *
 * @see https://prometheus.io/docs/practices/naming/
 */

/** One metric. */
export interface Metric {
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** One sentence; the help text of `/metrics` and of the manual. */
  readonly help: string;
  /** Each label with its possible values, or `text` where they depend on the installation. */
  readonly labels: Readonly<Record<string, 'text' | readonly string[]>>;
}

/** Every metric of the service, without the prefix `reentry_`. */
export const METRICS = {
  runs_accepted_total: { type: 'counter', help: 'Run requests accepted.', labels: { queue: 'text' } },
  runs_invalid_total: { type: 'counter', help: 'Run requests rejected as invalid.', labels: { queue: 'text' } },
  runs_gated_total: {
    type: 'counter',
    help: 'Starts postponed: until it is the run’s turn, for a paused queue, or for a concurrency key.',
    labels: { queue: 'text', why: ['turn', 'key', 'paused'] },
  },
  queue_waiting: {
    type: 'gauge',
    help: 'What waits in a queue that this process serves: requests and steps not yet given to a worker (worker), and runs postponed by their turn, a concurrency key or a pause. Every worker of the queue reports the whole: use the maximum, not the sum.',
    labels: { queue: 'text', why: ['worker', 'turn', 'key', 'paused'] },
  },
  runs_completed_total: {
    type: 'counter',
    help: 'Runs ended, by final state.',
    labels: { queue: 'text', state: ['succeeded', 'failed', 'skipped', 'cancelled'] },
  },
  runs_retried_total: {
    type: 'counter',
    help: 'Retries of runs, by the category of the failure.',
    labels: { queue: 'text', category: ['user', 'infrastructure', 'request', 'timeout', 'cancelled'] },
  },
  steps_total: {
    type: 'counter',
    help: 'Steps processed by a worker, by lane and outcome.',
    labels: { lane: 'text', outcome: 'text' },
  },
  step_duration_seconds: { type: 'histogram', help: 'Time a worker spent on a step.', labels: { lane: 'text' } },
  step_faults_total: {
    type: 'counter',
    help: 'Steps that failed because of a server or a bug and will be repeated, by error code.',
    labels: { code: 'text' },
  },
  dead_letters_total: {
    type: 'counter',
    help: 'Messages given up and stored as dead letters (`reentry dlq list`): requests (run) and steps (step).',
    labels: { kind: ['run', 'step'] },
  },
  fenced_total: { type: 'counter', help: 'Steps abandoned because another worker owns the run.', labels: {} },
  pods_created_total: { type: 'counter', help: 'Pods created.', labels: { connection: 'text' } },
  pods_adopted_total: {
    type: 'counter',
    help: 'Pod creations answered with “already exists”, by a pod that a previous owner of the run had created.',
    labels: { connection: 'text' },
  },
  pods_deleted_total: {
    type: 'counter',
    help: 'Pod deletions accepted by the API server.',
    labels: { connection: 'text' },
  },
  api_server_unanswered_seconds: {
    type: 'gauge',
    help: 'Time since the API server was first asked without having answered anything since; 0: it answered last.',
    labels: { role: ['worker', 'triggerer', 'executor'], connection: 'text' },
  },
  log_lines_total: { type: 'counter', help: 'Log lines stored.', labels: {} },
  log_gaps_total: { type: 'counter', help: 'Gaps in stored logs, left by log rotation.', labels: {} },
  live_follows: { type: 'gauge', help: 'Runs whose log this worker follows live for a client.', labels: {} },
  live_follows_refused_total: {
    type: 'counter',
    help: 'Live log follows refused because the process is at its limit.',
    labels: {},
  },
  resume_delay_seconds: {
    type: 'histogram',
    help: 'Time from the end of a pod’s base container to the resumption of its run.',
    labels: {},
  },
  subscriptions: { type: 'gauge', help: 'Trigger subscriptions known to this triggerer.', labels: {} },
  subscriptions_owned: {
    type: 'gauge',
    help: 'Trigger subscriptions in the shards owned by this triggerer; summed over triggerers, all that wait.',
    labels: {},
  },
  shards_owned: { type: 'gauge', help: 'Shards owned by this triggerer.', labels: {} },
  pods_watched: { type: 'gauge', help: 'Pods in the shared watch.', labels: { connection: 'text' } },
  watch_lag_seconds: {
    type: 'gauge',
    help: 'Time since the last event or bookmark of the watch.',
    labels: { connection: 'text' },
  },
  watch_restarts_total: {
    type: 'counter',
    help: 'Times the shared watch was started anew.',
    labels: { connection: 'text' },
  },
  events_fired_total: {
    type: 'counter',
    help: 'Trigger events published, by kind.',
    labels: { kind: ['success', 'failed', 'timeout', 'error', 'running', 'gone', 'timer'] },
  },
  fire_delay_seconds: {
    type: 'histogram',
    help: 'Time from a pod’s change or a deadline to the stored trigger event.',
    labels: {},
  },
  fire_failures_total: {
    type: 'counter',
    help: 'Attempts to publish a trigger event that failed and were repeated.',
    labels: {},
  },
  events_unsent: { type: 'gauge', help: 'Trigger events waiting to be published.', labels: {} },
  orphans_total: { type: 'counter', help: 'Pods without a subscription that were reported to workers.', labels: {} },
  pods_misnamed_total: {
    type: 'counter',
    help: 'Pods with the labels of the installation whose annotations name no possible run; they are ignored.',
    labels: {},
  },
  absence_checks_total: {
    type: 'counter',
    help: 'Pods fetched from the API server because no watch had them.',
    labels: {},
  },
  logging_intervals_stretched_total: {
    type: 'counter',
    help: 'Logging intervals stretched: too many were due (rate), or shorter than the minimum (floor).',
    labels: { why: ['rate', 'floor'] },
  },
  event_loop_delay_seconds: {
    type: 'gauge',
    help: 'Delay of this triggerer’s event loop in the last second, by quantile.',
    labels: { quantile: ['0.5', '0.99'] },
  },
  shard_claims_total: { type: 'counter', help: 'Claims of shards, by outcome.', labels: { outcome: ['won', 'lost'] } },
  service_requests_total: {
    type: 'counter',
    help: 'Service requests answered, by verb and outcome.',
    labels: {
      verb: ['submit', 'retry', 'status', 'list', 'cancel', 'logs', 'result', 'explain', 'render'],
      outcome: 'text',
    },
  },
  executor_open_slots: {
    type: 'gauge',
    help: 'Free slots of an executor queue, as this executor sees them.',
    labels: { queue: 'text' },
  },
  executor_running_tasks: { type: 'gauge', help: 'Live pods of an executor queue.', labels: { queue: 'text' } },
  executor_queued_tasks: {
    type: 'gauge',
    help: 'Tasks that wait for a slot of an executor.',
    labels: { queue: 'text' },
  },
  executor_live_executors: {
    type: 'gauge',
    help: 'Executors that share the slots of a queue.',
    labels: { queue: 'text' },
  },
  executor_launch_limit: {
    type: 'gauge',
    help: 'Pod creations that may be in flight at once; follows how the API server responds.',
    labels: {},
  },
  executor_pod_creation_duration_seconds: {
    type: 'histogram',
    help: 'Duration of a pod creation by an executor.',
    labels: {},
  },
  executor_pod_creations_total: {
    type: 'counter',
    help: 'Pod creations by an executor, by HTTP status (`error`: no answer).',
    labels: { status: 'text' },
  },
  executor_pod_deletions_total: {
    type: 'counter',
    help: 'Pod deletions by an executor, by HTTP status (`error`: no answer).',
    labels: { status: 'text' },
  },
  executor_pod_patches_total: {
    type: 'counter',
    help: 'Pod changes by an executor, by HTTP status (`error`: no answer).',
    labels: { status: 'text' },
  },
  connection_ready: {
    type: 'gauge',
    help: '1 while a connection works in a namespace (`*`: all of them): its API server answers and grants what the role needs; else 0.',
    labels: { role: ['worker', 'triggerer', 'executor'], connection: 'text', pod_namespace: 'text' },
  },
  config_file_valid: {
    type: 'gauge',
    help: '1 while a configuration file is valid; 0 while it is not, and its last valid version is used.',
    labels: { file: ['policy', 'connections'] },
  },
  broker_connected: { type: 'gauge', help: '1 while connected to NATS, else 0.', labels: {} },
  bucket_fill_ratio: { type: 'gauge', help: 'Fill of the fullest bucket, from 0 to 1.', labels: {} },
} as const satisfies Readonly<Record<string, Metric>>;

type Table = typeof METRICS;
/** Every metric's name. */
export type MetricName = keyof Table;
type NameOf<T extends Metric['type']> = { [N in MetricName]: Table[N]['type'] extends T ? N : never }[MetricName];
type Unlabelled = { [N in MetricName]: keyof Table[N]['labels'] extends never ? N : never }[MetricName];

export type CounterName = NameOf<'counter'>;
export type GaugeName = NameOf<'gauge'>;
export type HistogramName = NameOf<'histogram'>;

/** Of some metrics, those without labels. */
export type Plain<N extends MetricName> = Extract<N, Unlabelled>;
/** Of some metrics, those with labels. */
export type Labelled<N extends MetricName> = Exclude<N, Unlabelled>;

type ValueOf<L> = L extends readonly (infer V extends string)[] ? V : string;
/** The labels of a metric, all of them required. */
export type LabelsOf<N extends MetricName> = {
  readonly [L in keyof Table[N]['labels']]: ValueOf<Table[N]['labels'][L]>;
};

/** Labels of any metric. */
export type Labels = Readonly<Record<string, string>>;

/** Upper bounds of every histogram's buckets, in seconds. */
export const BUCKETS_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30] as const;

const isName = (name: string): name is MetricName => name in METRICS;

/** The table as rows, in order. */
export const METRIC_ROWS: readonly (readonly [MetricName, Metric])[] = Object.keys(METRICS)
  .filter(isName)
  .map((name) => [name, METRICS[name]]);
