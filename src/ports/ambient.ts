/** Log, traces and metrics of this process. */
import type { CounterName, GaugeName, HistogramName, Labelled, LabelsOf, Plain } from '../metrics.ts';

/** Structured log; the shape of pino's. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

/** One piece of work in a trace. */
export interface Span {
  /** W3C trace context for child spans. The parent's where this span is not recorded. */
  readonly traceparent: string | undefined;
  end(how?: {
    readonly error?: string;
    readonly endedAtMs?: number;
    readonly attributes?: Readonly<Record<string, string | number>>;
  }): void;
}

/** Spans of this process. Never waits, never throws. Times are epoch milliseconds. */
export interface Tracer {
  start(
    name: string,
    options: {
      readonly parent: string | undefined;
      readonly attributes: Readonly<Record<string, string | number>>;
      readonly startedAtMs?: number;
    },
  ): Span;
}

/** Labels of a metric that has none. */
type NoLabels = Readonly<Record<string, never>>;

/** Metrics of this process; `metrics.ts` lists names and labels. Never throws. */
export interface Meter {
  /** Adds `by`, 1 by default. */
  count(name: Plain<CounterName>, labels?: NoLabels, by?: number): void;
  count<N extends Labelled<CounterName>>(name: N, labels: LabelsOf<N>, by?: number): void;
  /** `undefined`: the value is not known now; the series is left out until it is. */
  gauge(name: Plain<GaugeName>, value: number | undefined): void;
  gauge<N extends Labelled<GaugeName>>(name: N, value: number | undefined, labels: LabelsOf<N>): void;
  observeSeconds(name: Plain<HistogramName>, seconds: number): void;
  observeSeconds<N extends Labelled<HistogramName>>(name: N, seconds: number, labels: LabelsOf<N>): void;
}
