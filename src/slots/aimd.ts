/**
 * How many pod creations may be in flight: additive increase while the API server answers well, multiplicative decrease when it throttles, fails or
 * becomes slow. Pure: times are arguments, in milliseconds of any monotonic clock.
 */
import { backOffMs } from '../core/back-off.ts';

/** Settings of the limit. */
export interface AimdSettings {
  /** The limit at first. */
  readonly initial: number;
  /** The highest limit. */
  readonly max: number;
}

/** The state after the answers so far. */
export interface AimdState {
  /** Creations that may be in flight, rounded down. */
  readonly limit: number;
  /** No creation is sent before this time. */
  readonly notBefore: number;
  /** When the limit was last lowered; answers to creations sent before then do not lower it again. */
  readonly cutAt: number;
  /** The fastest answer. It increases slowly, so that a server that has become slower for good is measured anew. */
  readonly bestMs: number;
  /** Until the limit is lowered for the first time, it grows by one with each answer. */
  readonly exploring: boolean;
  /** Consecutive failures of the server. */
  readonly failures: number;
}

/** The answer to one creation. */
export type Answered =
  /** The server created the pod, or refused it for a reason of this request alone. */
  | { readonly kind: 'answered' }
  /** 429, or a 5xx with `Retry-After`. */
  | { readonly kind: 'throttled'; readonly retryAfterMs: number | undefined }
  /** The server could not be reached or failed. */
  | { readonly kind: 'unavailable' };

/** An answer is slow when it takes this many times the fastest, and at least this long. */
const SLOW_FACTOR = 8;
const SLOW_AT_LEAST_MS = 400;
/** Factor by which the fastest answer increases with each answer. */
const DRIFT = 1.005;
/** Pause after the first failure; doubled with each further one. */
const PAUSE_MS = 250;
const MAX_PAUSE_MS = 5_000;
/** Longest `Retry-After` that delays all creations; a longer one delays its own request only. */
const MAX_RETRY_AFTER_MS = 60_000;

/** The state before the first creation. */
export function initialAimd({ initial, max }: AimdSettings): AimdState {
  return {
    limit: Math.max(1, Math.min(initial, max)),
    notBefore: 0,
    cutAt: Number.NEGATIVE_INFINITY,
    bestMs: Number.POSITIVE_INFINITY,
    exploring: true,
    failures: 0,
  };
}

/** The state after one answer. `inFlight`: creations in flight, this one included; a limit that is not used up is not raised. */
export function afterAnswer(
  state: AimdState,
  answer: Answered,
  { sentAt, now, inFlight }: { readonly sentAt: number; readonly now: number; readonly inFlight: number },
  { max }: AimdSettings,
): AimdState {
  switch (answer.kind) {
    case 'answered': {
      const tookMs = now - sentAt;
      const bestMs = Math.min(tookMs, state.bestMs * DRIFT);
      const known = { ...state, bestMs, failures: 0 };
      if (tookMs > Math.max(SLOW_AT_LEAST_MS, SLOW_FACTOR * bestMs)) return lowered(known, sentAt, now, 0.8);
      if (inFlight < Math.floor(state.limit)) return known;
      return { ...known, limit: Math.min(max, state.limit + (state.exploring ? 1 : 1 / state.limit)) };
    }
    case 'throttled': {
      const failures = state.failures + 1;
      const pauseMs = Math.min(MAX_RETRY_AFTER_MS, answer.retryAfterMs ?? pauseAfter(failures));
      return { ...lowered(state, sentAt, now, 0.5), failures, notBefore: Math.max(state.notBefore, now + pauseMs) };
    }
    case 'unavailable': {
      // Creations in flight at the same time fail together: that is one failure of the server.
      const failures = sentAt < state.cutAt ? state.failures : state.failures + 1;
      const notBefore = Math.max(state.notBefore, now + pauseAfter(failures));
      return { ...lowered(state, sentAt, now, 0.5), failures, notBefore };
    }
  }
}

/** How many more creations may be sent now. With `askAgainAt`: none before then; without it, the next answer may make room. */
export function roomNow(
  state: AimdState,
  inFlight: number,
  now: number,
): { readonly room: number; readonly askAgainAt?: number } {
  if (now < state.notBefore) return { room: 0, askAgainAt: state.notBefore };
  // After a failure, a single creation probes the server.
  const limit = state.failures > 0 ? 1 : Math.floor(state.limit);
  return { room: Math.max(0, limit - inFlight) };
}

function pauseAfter(failures: number): number {
  return backOffMs(failures, PAUSE_MS, MAX_PAUSE_MS);
}

/** Lowers the limit once per round trip: answers to creations sent before the last cut are no measure of the limit after it. */
function lowered(state: AimdState, sentAt: number, now: number, factor: number): AimdState {
  if (sentAt < state.cutAt) return state;
  return { ...state, limit: Math.max(1, state.limit * factor), cutAt: now, exploring: false };
}
