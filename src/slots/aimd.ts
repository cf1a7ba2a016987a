/**
 * How many pods may be in creation at a time, as a pure decision: additive increase while the API server answers well, multiplicative
 * decrease when it asks for less, fails or becomes slow. Time comes in as an argument, in milliseconds of any monotonic clock.
 */

/** Limits of the decision. */
export interface AimdSettings {
  /** Creations in flight at first. */
  readonly initial: number;
  /** Never more in flight than this. */
  readonly max: number;
}

/** What is known after the answers so far. */
export interface AimdState {
  /** Creations that may be in flight; a fraction counts as soon as it makes a whole. */
  readonly limit: number;
  /** Nothing is created before this instant. */
  readonly notBefore: number;
  /** The limit was last lowered then; answers to what was sent before do not lower it again. */
  readonly cutAt: number;
  /** The quickest answers, drifting up slowly, so that a server that became slower for good is measured anew. */
  readonly bestMs: number;
  /** The limit grows with each answer until it was lowered for the first time. */
  readonly exploring: boolean;
  /** Failures of the server since it last answered well. */
  readonly failures: number;
}

/** What came back for one creation. */
export type Answered =
  /** The server did what it was asked, or had a reason of this one request not to. */
  | { readonly kind: 'answered' }
  /** 429, or a 5xx with a time to wait. */
  | { readonly kind: 'throttled'; readonly retryAfterMs: number | undefined }
  /** It could not be reached or failed. */
  | { readonly kind: 'unavailable' };

/** An answer is slow when it takes this many times the quickest, and longer than a busy server's ordinary answer. */
const SLOW_FACTOR = 8;
const SLOW_AT_LEAST_MS = 400;
/** The quickest answer is forgotten at this rate per answer. */
const DRIFT = 1.005;
const PAUSE_MS = 250;
const MAX_PAUSE_MS = 5_000;
/** Longest `Retry-After` that holds everybody up; a longer one delays its own request only. */
const MAX_HOLD_MS = 60_000;

/** The state before anything was asked. */
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

/** The state after one answer. `inFlight`: how many were under way with it; a limit that nobody used is not raised. */
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
      const pauseMs = Math.min(MAX_HOLD_MS, answer.retryAfterMs ?? pauseAfter(failures));
      return { ...lowered(state, sentAt, now, 0.5), failures, notBefore: Math.max(state.notBefore, now + pauseMs) };
    }
    case 'unavailable': {
      // Those under way fail together: one failure of the server, not many.
      const failures = sentAt < state.cutAt ? state.failures : state.failures + 1;
      const notBefore = Math.max(state.notBefore, now + pauseAfter(failures));
      return { ...lowered(state, sentAt, now, 0.5), failures, notBefore };
    }
  }
}

/** How many more may be sent now, and otherwise when to ask again (absent: when an answer came). */
export function roomNow(
  state: AimdState,
  inFlight: number,
  now: number,
): { readonly room: number; readonly askAgainAt?: number } {
  if (now < state.notBefore) return { room: 0, askAgainAt: state.notBefore };
  // After a failure one goes ahead; the others follow when it was answered.
  const limit = state.failures > 0 ? 1 : Math.floor(state.limit);
  return { room: Math.max(0, limit - inFlight) };
}

function pauseAfter(failures: number): number {
  return Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** Math.min(10, failures - 1));
}

/** Once per round trip: what was sent before the last cut says nothing about the limit after it. */
function lowered(state: AimdState, sentAt: number, now: number, factor: number): AimdState {
  if (sentAt < state.cutAt) return state;
  return { ...state, limit: Math.max(1, state.limit * factor), cutAt: now, exploring: false };
}
