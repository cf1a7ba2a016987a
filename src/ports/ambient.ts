/** Log, traces and metrics of this process. */

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
  /** W3C trace context of this span, for what follows; of its parent where nothing is recorded. */
  readonly traceparent: string | undefined;
  end(how?: {
    readonly error?: string;
    readonly endedAtMs?: number;
    readonly attributes?: Readonly<Record<string, string | number>>;
  }): void;
}

/** Spans of this process. Never waits, never fails. Times are epoch milliseconds. */
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

/** Counters and gauges by name; names and labels are declared once in `telemetry.ts`. */
export interface Meter {
  count(name: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  /** `undefined`: not known now; nothing is told of it until it is again. */
  gauge(name: string, value: number | undefined, labels?: Readonly<Record<string, string>>): void;
  observeMs(name: string, ms: number, labels?: Readonly<Record<string, string>>): void;
}
