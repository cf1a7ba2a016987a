/** The meter: prom-client behind the table of `metrics.ts`. And the log: pino with redaction, JSON or a readable format. */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import pinoPretty from 'pino-pretty';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Config } from './config.ts';
import { BUCKETS_SECONDS, METRIC_ROWS } from './metrics.ts';
import type { CounterName, GaugeName, HistogramName, Labels, Metric, MetricName } from './metrics.ts';
import type { Log, Meter } from './ports/ambient.ts';

/** Meter over its own registry, and that registry's text for `/metrics`. */
export interface Telemetry {
  readonly meter: Meter;
  /** Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** A meter for one process. */
export function openTelemetry(log: Log): Telemetry {
  const registry = new Registry();
  // The default precision of 10 ms would wake an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 });
  const counters = new Map<MetricName, Counter>();
  const gauges = new Map<MetricName, Gauge>();
  const histograms = new Map<MetricName, Histogram>();
  for (const [name, { type, help, labels }] of METRIC_ROWS) {
    const settings = { name: `reentry_${name}`, help, labelNames: Object.keys(labels), registers: [registry] };
    if (type === 'gauge') gauges.set(name, new Gauge(settings));
    if (type === 'histogram') histograms.set(name, new Histogram({ ...settings, buckets: [...BUCKETS_SECONDS] }));
    if (type !== 'counter') continue;
    const counter = new Counter(settings);
    counters.set(name, counter);
    // To Prometheus, a series that appears with the value 1 has not increased: start it at 0 where its labels are known.
    for (const series of everyLabelling(labels)) counter.inc(series, 0);
  }
  const broken = new Set<string>();
  /** A metric must never break the work it measures. prom-client throws for values that are not finite numbers. */
  const safely = (name: MetricName, act: () => void): void => {
    try {
      act();
    } catch (error) {
      if (!broken.has(name))
        log.warn({ metric: name, err: error }, 'a metric was not updated; further failures of it are not logged');
      broken.add(name);
    }
  };
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    meter: {
      count(name: CounterName, labels: Labels = {}, by = 1) {
        safely(name, () => counters.get(name)?.inc(labels, by));
      },
      gauge(name: GaugeName, value: number | undefined, labels: Labels = {}) {
        safely(name, () => {
          if (value === undefined) gauges.get(name)?.remove(labels);
          else gauges.get(name)?.set(labels, value);
        });
      },
      observeSeconds(name: HistogramName, seconds: number, labels: Labels = {}) {
        safely(name, () => histograms.get(name)?.observe(labels, seconds));
      },
    },
  };
}

/** Every combination of label values; none where a label has values that are not known beforehand. */
function everyLabelling(labels: Metric['labels']): readonly Readonly<Record<string, string>>[] {
  return Object.entries(labels).reduce<readonly Readonly<Record<string, string>>[]>(
    (series, [label, values]) =>
      values === 'text' ? [] : series.flatMap((one) => values.map((value) => ({ ...one, [label]: value }))),
    [{}],
  );
}

/** Fields that are never logged, down to the third level. */
const REDACTED = [
  ...['password', 'pass', 'secret', 'token', 'creds', 'nkey', 'env', 'envVars', 'authorization', 'Authorization'],
].flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/** Receives log lines; a terminal gets the readable format. */
export type LogDestination = DestinationStream & { readonly isTTY?: boolean };

/**
 * The process's log, on stderr; stdout is for answers. JSON, or a readable format where stderr is a terminal.
 * Every line has `role`; lines about a run have `tenant` and `runId`.
 */
export function openLog(
  settings: Pick<Config, 'logLevel' | 'logFormat'>,
  role: string,
  destination: LogDestination,
): Log {
  const readable = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && destination.isTTY === true);
  const logger = pino(
    { level: settings.logLevel, base: { role }, redact: { paths: REDACTED, censor: '[redacted]' } },
    readable
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

/** The destination as the stream that the formatter requires. */
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
