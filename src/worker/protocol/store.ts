/** Writes a run's state. Nothing else in a worker does; each written change is counted and traced here, once. */
import { v4 as uuid } from 'uuid';
import type { Draft } from '../../core/run/state-changes.ts';
import { isAllowed, isTerminal } from '../../core/run/transitions.ts';
import type { Message, OwnerChange } from '../../core/run/transitions.ts';
import { ReentryError } from '../../errors.ts';
import type { Versioned } from '../../ports/stores.ts';
import type { Fence, RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from './engine.ts';
import { runSpan, SPANS } from './tracing.ts';

/** What writing a state takes. */
export type StoreParts = BrokerParts<'runs'> & Pick<Engine, 'meter' | 'tracer'>;

/** A change of a run, by its name in the table of `core/run/transitions.ts`, and the state to be written. */
export interface Change {
  readonly on: Message | OwnerChange;
  readonly draft: Draft;
}

/** What became of a write. */
export type Stored =
  | { readonly kind: 'stored'; readonly seen: Versioned<RunState> }
  /** Another process wrote first; nothing was done. `seen`: what is stored now. */
  | { readonly kind: 'lost'; readonly seen: Versioned<RunState> | undefined };

/**
 * Writes a change over the state it was made from (`undefined`: there is none yet), under a new operation id.
 * @throws ReentryError INTERNAL for a change that the table does not allow: a bug
 */
export async function store(
  parts: StoreParts,
  run: RunKey,
  before: Versioned<RunState> | undefined,
  { on, draft }: Change,
): Promise<Stored> {
  const from = before?.value.phase ?? 'none';
  if (!isAllowed(from, on, draft.phase))
    throw new ReentryError('INTERNAL', `${on} may not bring a run from ${from} to ${draft.phase}`, {
      transient: false,
    });
  const { runs } = parts.broker;
  const state: RunState = { ...draft, op: uuid() };
  const outcome = await runs.write(run, state, before?.revision ?? 0);
  if (outcome.kind === 'conflict') {
    const current = outcome.current ?? (await runs.read(run, { leader: true }));
    // Where it carries our operation id, only the acknowledgement of our write got lost.
    if (current?.value.op !== state.op) return { kind: 'lost', seen: current };
    count(parts, run, on, state);
    return { kind: 'stored', seen: current };
  }
  count(parts, run, on, state);
  return { kind: 'stored', seen: { value: state, revision: outcome.revision } };
}

function count({ meter, tracer }: StoreParts, run: RunKey, on: Change['on'], state: RunState): void {
  const { queue, phase, outcome, timings } = state;
  if (on === 'request') meter.count(phase === 'Failed' ? 'runs_invalid_total' : 'runs_accepted_total', { queue });
  const why = state.await?.gate?.why;
  if (on === 'gate' && why !== undefined) meter.count('runs_gated_total', { queue, why });
  if (on === 'retry') meter.count('runs_retried_total', { queue, category: outcome?.diagnosis?.category ?? 'user' });
  if (on === 'requeue' || !isTerminal(phase)) return;
  const { state: final, diagnosis } = outcome ?? { state: 'failed' as const };
  meter.count('runs_completed_total', { queue, state: final });
  runSpan(tracer, SPANS.complete, run, state, timings.resumedAt ?? timings.completedAt).end({
    attributes: {
      'reentry.state': final,
      ...(diagnosis === undefined ? {} : { 'reentry.code': diagnosis.code }),
    },
    ...(final === 'failed' ? { error: diagnosis?.summary ?? 'failed' } : {}),
  });
}

/** A change by the owner, made from whatever state is stored when it is written. */
export interface OwnedChange {
  readonly on: OwnerChange;
  readonly next: (state: RunState) => Draft;
  /** Never written once a cancel was requested: the run is stopped instead. Otherwise it is written all the same. */
  readonly yieldsToCancel: boolean;
}

/** A run owned by one message. Every write of its owner goes through here; none is made once the fence names another owner. */
export class OwnedRun {
  readonly run: RunKey;
  readonly #parts: StoreParts;
  readonly #fence: Fence;
  /** State and revision as last seen. */
  seen: Versioned<RunState>;

  constructor(parts: StoreParts, run: RunKey, seen: Versioned<RunState>) {
    this.run = run;
    this.#parts = parts;
    this.#fence = seen.value.fence;
    this.seen = seen;
  }

  /** The state as last seen. */
  get state(): RunState {
    return this.seen.value;
  }

  /**
   * Writes what the change makes of the stored state. `cancelled`: a cancel was requested, to which the change yields; nothing was written.
   * @throws ReentryError FENCED when another worker owns the run
   */
  async write({ on, next, yieldsToCancel }: OwnedChange): Promise<'stored' | 'cancelled'> {
    for (;;) {
      if (yieldsToCancel && this.state.cancel !== undefined) return 'cancelled';
      const stored = await store(this.#parts, this.run, this.seen, { on, draft: next(this.state) });
      this.seen = stored.kind === 'stored' ? stored.seen : this.#owned(stored.seen);
      if (stored.kind === 'stored') return 'stored';
    }
  }

  /**
   * Reads the state from the leader: right before what cannot be repeated.
   * @throws ReentryError FENCED when another worker owns the run
   */
  async checkOwner(): Promise<{ readonly cancelRequested: boolean }> {
    this.seen = this.#owned(await this.#parts.broker.runs.read(this.run, { leader: true }));
    return { cancelRequested: this.state.cancel !== undefined };
  }

  #owned(seen: Versioned<RunState> | undefined): Versioned<RunState> {
    const { tenant, runId } = this.run;
    const { stream, seq, epoch, by } = this.#fence;
    const fence = seen?.value.fence;
    const isOurs = fence?.stream === stream && fence.seq === seq && fence.epoch === epoch && fence.by === by;
    if (seen === undefined || !isOurs)
      throw new ReentryError('FENCED', `another worker owns run ${tenant}/${runId}`, { transient: false });
    return seen;
  }
}
