/**
 * When a role is stuck, so that a restart helps: the decision behind `/healthz`. An outage of the broker or of an API server, however long, is none: a
 * restart would not end it, and all replicas would be restarted together. An event loop that stands still answers no probe, which restarts it as well.
 */

/** What a role knows of its own progress. */
export interface LivenessFacts {
  /** Pipelines that ended although the role was not stopped. */
  readonly ended: readonly string[];
  /** How long the connection to the broker has been up, in milliseconds; `undefined`: it is down. */
  readonly connectedForMs: number | undefined;
  /** Loops that turn every few seconds while connected, by name: time since the last turn, in milliseconds. */
  readonly silentForMs: Readonly<Record<string, number>>;
  /** Queues' lanes that hold all the messages they may, by name: time since they last settled one, in milliseconds. */
  readonly fullForMs: Readonly<Record<string, number>>;
}

/** A loop that has not turned for this long will not turn again. */
export const SILENT_LIMIT_MS = 120_000;
/** No step takes this long: every call has a deadline, the longest of them minutes. */
export const FULL_LIMIT_MS = 15 * 60_000;

/** Why only a restart helps; empty: none is needed. */
export function stuckReasons({ ended, connectedForMs, silentForMs, fullForMs }: LivenessFacts): readonly string[] {
  const connected = connectedForMs ?? 0;
  const seconds = (ms: number): string => `${String(Math.round(ms / 1_000))} s`;
  /** What has lasted longer than `limitMs`, all that time with a connection. */
  const over = (ages: Readonly<Record<string, number>>, limitMs: number) =>
    Object.entries(ages).filter(([, ms]) => Math.min(ms, connected) > limitMs);
  return [
    ...ended.map((name) => `${name} ended by itself`),
    ...over(silentForMs, SILENT_LIMIT_MS).map(
      ([name, ms]) => `${name} has not turned for ${seconds(ms)} although NATS is connected`,
    ),
    ...over(fullForMs, FULL_LIMIT_MS).map(
      ([name, ms]) => `${name} has settled none of its messages for ${seconds(ms)}`,
    ),
  ];
}
