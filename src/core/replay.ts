/** What becomes of a dead letter that somebody wants to see run after all. */
import { createHash } from 'node:crypto';
import type { RunRequest, RunState } from '../wire/messages.ts';
import { isTerminal } from './run-state.ts';

/** Annotation of a replayed run: the run that it repeats. */
const REPLAY_OF = 'reentry.dev/replay-of';

/** Run ids longer than this keep only a digest of themselves in the replay's id; the limit is on encoded characters. */
const MAX_KEPT_LENGTH = 60;

/** What a replay does. */
export type Replay =
  | { readonly kind: 'run'; readonly runId: string; readonly queue: string; readonly request: RunRequest }
  /** The run is not over: it still owes its own end, and a second one beside it would be a second pod. */
  | { readonly kind: 'running'; readonly phase: string }
  /** Neither stored nor in the letter. */
  | { readonly kind: 'lost' };

/**
 * A replay is a new run of the same request, never another end of the old run: that one has said `completed` once and for all.
 * Its id is made of the letter's place, so that the same letter replayed twice is one run.
 */
export function replayOf(
  letter: { readonly sequence: number; readonly runId: string },
  state: RunState | undefined,
  request: RunRequest | undefined,
  queue: string | undefined,
): Replay {
  if (state !== undefined && !isTerminal(state.phase)) return { kind: 'running', phase: state.phase };
  if (request === undefined) return { kind: 'lost' };
  const { runId, sequence } = letter;
  const kept = /^[\w-]+$/.test(runId) && runId.length <= MAX_KEPT_LENGTH;
  const stem = kept ? runId : createHash('sha256').update(runId).digest('hex').slice(0, 16);
  return {
    kind: 'run',
    runId: `${stem}-replay-${String(sequence)}`,
    queue: queue ?? state?.queue ?? (request.operator === 'command' ? 'executor' : 'default'),
    request: { ...request, annotations: { ...request.annotations, [REPLAY_OF]: runId } },
  };
}
