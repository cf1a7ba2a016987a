/** Whether a connection can be used in a namespace: the states, what each is called, and when it is checked again. Pure. */
import type { Diagnosis } from '../wire/outcome.ts';
import { backOffMs } from './back-off.ts';
import { diagnosisOf } from './run/diagnosis.ts';

/** A namespace of a connection; `undefined`: all of them. */
export interface ConnectionScope {
  readonly connection: string;
  readonly namespace: string | undefined;
}

/** What the last check found. */
export type ConnectionState =
  | { readonly kind: 'unchecked' }
  | { readonly kind: 'ok' }
  /** The API server did not answer, or not as one: network, TLS, credentials, 5xx. */
  | { readonly kind: 'unreachable'; readonly why: string }
  /** Permissions that the role needs there, as `verb resource[/subresource]`. */
  | { readonly kind: 'lacks'; readonly missing: readonly string[] };

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** How often a good connection is probed. */
const PROBE_EVERY_MS = 60_000;

/** The pause before a connection is checked again. `failures`: checks in a row after which some namespace was not ok; 0: all are. */
export function checkAgainMs(failures: number): number {
  return failures === 0 ? PROBE_EVERY_MS : backOffMs(failures, RETRY_MIN_MS, RETRY_MAX_MS);
}

/** A scope in messages: `in namespace b`. */
export function whereText(namespace: string | undefined): string {
  return namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`;
}

/** What is wrong, as one sentence; `undefined` where nothing is. */
export function connectionProblem(scope: ConnectionScope, state: ConnectionState): string | undefined {
  const { connection, namespace } = scope;
  switch (state.kind) {
    case 'ok':
      return undefined;
    case 'unchecked':
      return `connection ${connection} has not answered yet ${whereText(namespace)}`;
    case 'unreachable':
      return `connection ${connection} is unreachable: ${state.why}`;
    case 'lacks':
      return `connection ${connection} lacks permissions ${whereText(namespace)}: ${state.missing.join(', ')}`;
  }
}

/** An API server that has not answered for this long is mentioned. Slow replies alone do not come so far, because what is slow is probed. */
const MENTIONED_MS = 10_000;
const AWAY_MS = 30_000;

/** That an API server has not answered for `ms`, as one sentence; `undefined` below 10 s. */
export function unansweredProblem(connection: string, ms: number): string | undefined {
  if (ms < MENTIONED_MS) return undefined;
  return `API server of connection ${connection} has not answered for ${String(Math.floor(ms / 1_000))} s`;
}

/** Whether an API server that has not answered for `ms` counts as away: from 30 s on. */
export function isAway(ms: number): boolean {
  return ms >= AWAY_MS;
}

/** Why a run that needs this scope must wait; `undefined`: it need not. */
export function connectionDiagnosis(scope: ConnectionScope, state: ConnectionState): Diagnosis | undefined {
  const message = connectionProblem(scope, state);
  if (message === undefined) return undefined;
  return state.kind === 'lacks'
    ? diagnosisOf('PERMISSIONS_MISSING', { subject: scope.namespace, message })
    : diagnosisOf('CONNECTION_UNREACHABLE', { subject: scope.connection, message });
}
