/** Every metric with its labels, once; and the log: pino with run ids, redaction, and a reader's format on a terminal. */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import pinoPretty from 'pino-pretty';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Config } from './config.ts';
import type { Log, Meter } from './ports/ambient.ts';

interface MetricFacts {
  readonly kind: 'counter' | 'gauge' | 'milliseconds';
  /** One sentence. */
  readonly says: string;
  readonly labels: readonly string[];
  /** Values of a counter's one label that stand at 0 from the start: to Prometheus, what appears with 1 has not increased. */
  readonly from0?: readonly string[];
}

/** Every metric of the service, without its prefix `reentry_`. */
export const METRICS = {
  runs_accepted_total: { kind: 'counter', says: 'Run requests taken in.', labels: ['queue'] },
  runs_invalid_total: { kind: 'counter', says: 'Run requests refused as invalid.', labels: ['queue'] },
  runs_gated_total: {
    kind: 'counter',
    says: 'Starts put back to wait for their turn, a paused queue or a concurrency key.',
    labels: ['queue', 'why'],
  },
  queue_waiting: {
    kind: 'gauge',
    says: 'What waits in a queue that this process serves: requests and steps that no worker has yet (worker), and runs kept by their turn, a concurrency key or a pause. Every worker of the queue tells the whole: take the largest, not the sum.',
    labels: ['queue', 'why'],
  },
  runs_completed_total: { kind: 'counter', says: 'Runs ended, by final state.', labels: ['queue', 'state'] },
  runs_retried_total: { kind: 'counter', says: 'Further attempts, by whose fault.', labels: ['queue', 'category'] },
  steps_total: {
    kind: 'counter',
    says: 'Steps done by a worker, by lane and what became of them.',
    labels: ['lane', 'outcome'],
  },
  step_milliseconds: { kind: 'milliseconds', says: 'Time a worker spent on a step.', labels: ['lane'] },
  step_faults_total: {
    kind: 'counter',
    says: 'Steps put back because of a fault of ours or of a server.',
    labels: ['code'],
  },
  dead_letters_total: {
    kind: 'counter',
    says: 'Messages given up, of which `reentry dlq list` has copies: requests (run) and steps (step).',
    labels: ['kind'],
    from0: ['run', 'step'],
  },
  fenced_total: { kind: 'counter', says: 'Steps left because another worker owns them.', labels: [] },
  pods_created_total: { kind: 'counter', says: 'Pods created.', labels: ['connection'] },
  pods_adopted_total: {
    kind: 'counter',
    says: 'Creations that found a pod of the name there already: what an owner before had made.',
    labels: ['connection'],
  },
  pods_deleted_total: { kind: 'counter', says: 'Deletions of pods that the API server took.', labels: ['connection'] },
  log_lines_total: { kind: 'counter', says: 'Log lines stored.', labels: [] },
  log_gaps_total: { kind: 'counter', says: 'Gaps that rotation made in logs.', labels: [] },
  live_follows: { kind: 'gauge', says: 'Runs whose log this worker follows live for somebody.', labels: [] },
  live_follows_refused_total: {
    kind: 'counter',
    says: 'Live follows refused: the process had all it may have.',
    labels: [],
  },
  resume_milliseconds: { kind: 'milliseconds', says: "Time from a pod's end to its run's resumption.", labels: [] },
  subscriptions: { kind: 'gauge', says: 'Trigger subscriptions this triggerer knows.', labels: [] },
  subscriptions_owned: {
    kind: 'gauge',
    says: 'Those of them in the shards it owns; their sum is what waits.',
    labels: [],
  },
  shards_owned: { kind: 'gauge', says: 'Shards this triggerer owns.', labels: [] },
  pods_watched: { kind: 'gauge', says: 'Pods in the shared watch.', labels: ['connection'] },
  watch_lag_milliseconds: { kind: 'gauge', says: 'Time since the watch last said anything.', labels: ['connection'] },
  watch_restarts_total: { kind: 'counter', says: 'Times the shared watch was begun anew.', labels: ['connection'] },
  events_fired_total: { kind: 'counter', says: 'Trigger events published, by kind.', labels: ['kind'] },
  orphans_total: { kind: 'counter', says: 'Pods without a subscription that were reported.', labels: [] },
  pods_misnamed_total: {
    kind: 'counter',
    says: 'Pods with the labels of the installation whose annotations name a run that cannot be; left alone.',
    labels: [],
  },
  fire_milliseconds: {
    kind: 'milliseconds',
    says: "Time from a pod's change or a deadline to the stored trigger event.",
    labels: [],
  },
  absence_checks_total: { kind: 'counter', says: 'Pods asked for because no watch had them.', labels: [] },
  logging_intervals_stretched_total: {
    kind: 'counter',
    says: 'Logging intervals stretched: too many were due (rate), or shorter than the least one (floor).',
    labels: ['why'],
  },
  fire_failures_total: { kind: 'counter', says: 'Trigger events that could not be stored at once.', labels: [] },
  events_unsent: { kind: 'gauge', says: 'Trigger events that wait for a place to be published.', labels: [] },
  loop_delay_milliseconds: {
    kind: 'gauge',
    says: "Delay of this triggerer's event loop in the last second, by percentile.",
    labels: ['percentile'],
  },
  shard_claims_total: { kind: 'counter', says: 'Claims on shards, by outcome.', labels: ['outcome'] },
  service_requests_total: {
    kind: 'counter',
    says: 'Requests answered, by verb and outcome.',
    labels: ['verb', 'outcome'],
  },
  executor_open_slots: {
    kind: 'gauge',
    says: 'Free slots of an executor queue, as this executor sees them.',
    labels: ['queue'],
  },
  executor_running_tasks: { kind: 'gauge', says: 'Live pods of an executor queue.', labels: ['queue'] },
  executor_live_executors: { kind: 'gauge', says: 'Executors that share the slots of a queue.', labels: ['queue'] },
  executor_launch_limit: { kind: 'gauge', says: 'Pods that may be in creation at a time, now.', labels: [] },
  executor_pod_creation_milliseconds: {
    kind: 'milliseconds',
    says: 'Time that the creation of a pod took.',
    labels: [],
  },
  executor_queued_tasks: { kind: 'gauge', says: 'Tasks that wait for a slot of an executor.', labels: ['queue'] },
  executor_pod_deletions_total: {
    kind: 'counter',
    says: 'Deletions of pods by an executor, by HTTP status (or error).',
    labels: ['status'],
  },
  executor_pod_patches_total: {
    kind: 'counter',
    says: 'Changes to pods by an executor, by HTTP status (or error).',
    labels: ['status'],
  },
  executor_pod_creations_total: {
    kind: 'counter',
    says: 'Creations of pods by an executor, by HTTP status (or error).',
    labels: ['status'],
  },
  broker_connected: { kind: 'gauge', says: '1 while connected to NATS.', labels: [] },
  bucket_fill: { kind: 'gauge', says: 'Fill of the fullest bucket, 0 to 1.', labels: [] },
} as const satisfies Readonly<Record<string, MetricFacts>>;

const BUCKETS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/** Meter over its own registry, and that registry's text for `/metrics`. */
export interface Telemetry {
  readonly meter: Meter;
  /** Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** A meter for one process. Names that the table does not know are not counted, and logged once. */
export function openTelemetry(log: Log): Telemetry {
  const registry = new Registry();
  // Its own precision of 10 ms wakes an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 });
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [name, { kind, says, labels, from0 = [] }] of Object.entries<MetricFacts>(METRICS)) {
    const settings = { name: `reentry_${name}`, help: says, labelNames: labels, registers: [registry] };
    if (kind === 'counter') {
      const counter = new Counter(settings);
      counters.set(name, counter);
      for (const label of labels) for (const value of from0) counter.inc({ [label]: value }, 0);
    }
    if (kind === 'gauge') gauges.set(name, new Gauge(settings));
    if (kind === 'milliseconds') histograms.set(name, new Histogram({ ...settings, buckets: BUCKETS_MS }));
  }
  const unknown = new Set<string>();
  /** A metric must never break the work it counts. */
  const safely = (name: string, act: () => boolean): void => {
    let done = false;
    try {
      done = act();
    } catch (error) {
      if (!unknown.has(name)) log.warn({ metric: name, err: error }, 'a metric was given labels it does not have');
      unknown.add(name);
      return;
    }
    if (done || unknown.has(name)) return;
    unknown.add(name);
    log.warn({ metric: name }, 'a metric is not in the table of telemetry.ts');
  };
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    meter: {
      count(name, labels = {}, by = 1) {
        safely(name, () => {
          counters.get(name)?.inc(labels, by);
          return counters.has(name);
        });
      },
      gauge(name, value, labels = {}) {
        safely(name, () => {
          if (value === undefined) gauges.get(name)?.remove(labels);
          else gauges.get(name)?.set(labels, value);
          return gauges.has(name);
        });
      },
      observeMs(name, ms, labels = {}) {
        safely(name, () => {
          histograms.get(name)?.observe(labels, ms);
          return histograms.has(name);
        });
      },
    },
  };
}

/** Fields that never reach a log, wherever they stand. */
const REDACTED = [
  ...['password', 'pass', 'secret', 'token', 'creds', 'nkey', 'env', 'envVars', 'authorization', 'Authorization'],
].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/**
 * The process's log, on stderr: stdout belongs to answers. JSON, or for people where stderr is a terminal.
 * Every line carries `role`; lines about a run carry `tenant` and `runId` (given by whoever logs, through `child`).
 */
export function openLog(
  settings: Pick<Config, 'logLevel' | 'logFormat'>,
  role: string,
  destination: DestinationStream & { readonly isTTY?: boolean },
): Log {
  const forPeople = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && destination.isTTY === true);
  const logger = pino(
    { level: settings.logLevel, base: { role }, redact: { paths: REDACTED, censor: '[redacted]' } },
    forPeople
      ? pinoPretty({
          destination: writable(destination),
          ignore: 'pid,hostname',
          translateTime: 'SYS:HH:MM:ss.l',
          colorize: destination.isTTY === true,
        })
      : destination,
  );
  return asLog(logger);
}

/** The destination as the stream that the formatter asks for. */
function writable(destination: DestinationStream): Writable {
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      destination.write(line);
      done();
    },
  });
}

function asLog(logger: Logger): Log {
  return {
    debug: (fields, message) => {
      logger.debug(fields, message);
    },
    info: (fields, message) => {
      logger.info(fields, message);
    },
    warn: (fields, message) => {
      logger.warn(fields, message);
    },
    error: (fields, message) => {
      logger.error(fields, message);
    },
    child: (fields) => asLog(logger.child(fields)),
  };
}
