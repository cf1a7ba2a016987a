/** What becomes of a dead letter that somebody wants to see run after all. */
import { createHash } from 'node:crypto';
import type { RunRequest } from '../../wire/run-request.ts';
import type { Phase, RunState } from '../../wire/run-state.ts';
import { isTerminal } from './transitions.ts';

/** Annotation of a replayed run: the run that it repeats. */
const REPLAY_OF = 'reentry.dev/replay-of';

/** Run ids longer than this keep only a digest of themselves in the replay's id; the limit is on encoded characters. */
const MAX_KEPT_LENGTH = 60;

/** What a replay does. */
export type Replay =
  | { readonly kind: 'run'; readonly runId: string; readonly queue: string; readonly request: RunRequest }
  /** The run is not over: it still owes its own end, and a second one beside it would be a second pod. */
  | { readonly kind: 'running'; readonly phase: string }
  /** The run went on after its letter and ended otherwise: a replay would do again what may have been done. */
  | { readonly kind: 'ended'; readonly phase: string }
  /** Neither stored nor in the letter. */
  | { readonly kind: 'lost' };

/**
 * The phase of a run that its letter does not speak for: the letter is stored before the run's end, and that write is lost where somebody else
 * wrote first (a cancel, another owner). `undefined`: the run is over as its letter says, or is not known any more.
 */
export function wentOn(state: RunState | undefined): Phase | undefined {
  if (state === undefined) return undefined;
  return isTerminal(state.phase) && state.outcome?.diagnosis?.code === 'DEAD_LETTERED' ? undefined : state.phase;
}

/**
 * A replay is a new run of the same request, never another end of the old run: that one has said `completed` once and for all.
 * Its id is made of the letter's place, so that the same letter replayed twice is one run.
 */
export function replayOf(
  letter: { readonly sequence: number; readonly runId: string },
  state: RunState | undefined,
  request: RunRequest | undefined,
  queue: string | undefined,
  defaultQueue: string,
): Replay {
  const phase = wentOn(state);
  if (phase !== undefined) return { kind: isTerminal(phase) ? 'ended' : 'running', phase };
  if (request === undefined) return { kind: 'lost' };
  const { runId, sequence } = letter;
  const kept = /^[\w-]+$/.test(runId) && runId.length <= MAX_KEPT_LENGTH;
  const stem = kept ? runId : createHash('sha256').update(runId).digest('hex').slice(0, 16);
  return {
    kind: 'run',
    runId: `${stem}-replay-${String(sequence)}`,
    queue: queue ?? state?.queue ?? defaultQueue,
    request: { ...request, annotations: { ...request.annotations, [REPLAY_OF]: runId } },
  };
}
