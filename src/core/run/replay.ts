/** Replaying a dead letter (`reentry dlq replay`). */
import { createHash } from 'node:crypto';
import type { RunRequest } from '../../wire/run-request.ts';
import type { Phase, RunState } from '../../wire/run-state.ts';
import { isTerminal } from './transitions.ts';

/** Annotation of a replayed run: the run that it repeats. */
const REPLAY_OF = 'reentry.dev/replay-of';

/** Longer run ids are replaced by a digest in the replay's id. In encoded characters. */
const MAX_STEM_LENGTH = 60;

/** What replaying a dead letter comes to. */
export type Replay =
  | { readonly kind: 'run'; readonly runId: string; readonly queue: string; readonly request: RunRequest }
  /** The run has not ended; a second run of the same request would be a second pod. */
  | { readonly kind: 'running'; readonly phase: string }
  /** The run went on after the dead letter was stored, and ended otherwise: a replay might repeat work that was done. */
  | { readonly kind: 'ended'; readonly phase: string }
  /** The request is neither stored nor in the dead letter. */
  | { readonly kind: 'lost' };

/**
 * The phase of a run that did not end with its dead letter. The letter is stored before the run's end, and that write is lost where another process
 * wrote first (a cancel, another owner). `undefined`: the run ended as DEAD_LETTERED, or is forgotten.
 */
export function wentOn(state: RunState | undefined): Phase | undefined {
  if (state === undefined) return undefined;
  return isTerminal(state.phase) && state.outcome?.diagnosis?.code === 'DEAD_LETTERED' ? undefined : state.phase;
}

/**
 * The replay of a dead letter: a new run of the same request, since the old run has published `completed`. Its id is made of the letter's sequence, so
 * that replaying a letter twice makes one run.
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
  const fits = /^[\w-]+$/.test(runId) && runId.length <= MAX_STEM_LENGTH;
  const stem = fits ? runId : createHash('sha256').update(runId).digest('hex').slice(0, 16);
  return {
    kind: 'run',
    runId: `${stem}-replay-${String(sequence)}`,
    queue: queue ?? state?.queue ?? defaultQueue,
    request: { ...request, annotations: { ...request.annotations, [REPLAY_OF]: runId } },
  };
}
