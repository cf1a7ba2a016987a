import type { ErrorCode } from '../errors.ts';
import type { FinalState } from '../wire/outcome.ts';

/**
 * Exit codes of the process. `submit --wait` and `result --wait` exit with the code of the run's final state. A command that waits ends at
 * the first signal, with 128 plus the signal's number, as in shells. Roles drain and exit with 0.
 */
export const EXIT_CODES = {
  ok: 0,
  failed: 1,
  usage: 2,
  skipped: 3,
  cancelled: 4,
  unreachable: 5,
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof EXIT_CODES)[keyof typeof EXIT_CODES];

/** Exit code of a command ended by a signal: `SIGINT` (Ctrl-C), else `SIGTERM`. */
export function signalCode(signal: string): ExitCode {
  return signal === 'SIGINT' ? EXIT_CODES.interrupted : EXIT_CODES.terminated;
}

/** Exit code of a command that waited for a run, by the run's final state. */
export const FINAL_STATE_CODES = {
  succeeded: EXIT_CODES.ok,
  failed: EXIT_CODES.failed,
  skipped: EXIT_CODES.skipped,
  cancelled: EXIT_CODES.cancelled,
} as const satisfies Readonly<Record<FinalState, ExitCode>>;

/** Exit code for each error of this package. */
export const ERROR_CODES = {
  CONFIG_INVALID: EXIT_CODES.usage,
  INVALID_REQUEST: EXIT_CODES.usage,
  NOT_FOUND: EXIT_CODES.usage,
  RUN_ID_TAKEN: EXIT_CODES.usage,
  TOO_LARGE: EXIT_CODES.usage,
  NATS_SERVER_MISSING: EXIT_CODES.usage,
  BUSY: EXIT_CODES.unreachable,
  UNREACHABLE: EXIT_CODES.unreachable,
  UNAUTHORIZED: EXIT_CODES.unreachable,
  FORBIDDEN: EXIT_CODES.unreachable,
  NATS_UNAVAILABLE: EXIT_CODES.unreachable,
  NATS_MISMATCH: EXIT_CODES.unreachable,
  STREAM_FULL: EXIT_CODES.unreachable,
  TIMEOUT: EXIT_CODES.unreachable,
  KUBERNETES: EXIT_CODES.unreachable,
  LOCAL_CLUSTER: EXIT_CODES.failed,
  DRAIN_OVERDUE: EXIT_CODES.failed,
  FENCED: EXIT_CODES.failed,
  INTERNAL: EXIT_CODES.failed,
} as const satisfies Readonly<Record<ErrorCode, ExitCode>>;
