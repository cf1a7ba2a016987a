import { v4 as uuid } from 'uuid';
import type { Draft } from '../../core/run/state-changes.ts';
import { ReentryError } from '../../errors.ts';
import type { RunStore, Versioned } from '../../ports/stores.ts';
import type { Fence, RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** What an attempt to become a run's owner, or to write without being it, came to. */
export type Written =
  | { readonly kind: 'written'; readonly seen: Versioned<RunState> }
  /** Somebody wrote first: decide again from what is stored now. */
  | { readonly kind: 'lost'; readonly seen: Versioned<RunState> | undefined };

/** Writes `draft` over `revision` (0: no state yet) under a new operation id. */
export async function writeOver(runs: RunStore, run: RunKey, draft: Draft, revision: number): Promise<Written> {
  const state = { ...draft, op: uuid() };
  const outcome = await runs.write(run, state, revision);
  if (outcome.kind === 'written') return { kind: 'written', seen: { value: state, revision: outcome.revision } };
  const seen = outcome.current ?? (await runs.read(run, { leader: true }));
  // An acknowledgement got lost, the write did not.
  if (seen?.value.op === state.op) return { kind: 'written', seen };
  return { kind: 'lost', seen };
}

/** A run held by one message: every write goes through here, and none is made once the fence names another holder. @see spec protocol §3 */
export class Holding {
  readonly run: RunKey;
  readonly #runs: RunStore;
  readonly #fence: Fence;
  #seen: Versioned<RunState>;

  constructor(runs: RunStore, run: RunKey, seen: Versioned<RunState>) {
    this.run = run;
    this.#runs = runs;
    this.#fence = seen.value.fence;
    this.#seen = seen;
  }

  /** The state as last seen. */
  get state(): RunState {
    return this.#seen.value;
  }

  /** State and revision as last seen. */
  get seen(): Versioned<RunState> {
    return this.#seen;
  }

  /**
   * Writes what `next` makes of the present state. `cancelled`: somebody asked for an end since, nothing was written; asking again writes.
   * @throws ReentryError FENCED when the run is no longer ours
   */
  async write(next: (state: RunState) => Draft): Promise<'written' | 'cancelled'> {
    for (;;) {
      const before = this.#seen;
      const written = await writeOver(this.#runs, this.run, next(before.value), before.revision);
      if (written.kind === 'written') {
        this.#seen = written.seen;
        return 'written';
      }
      this.#seen = this.#stillOurs(written.seen);
      if (this.state.cancel !== undefined && before.value.cancel === undefined) return 'cancelled';
    }
  }

  /**
   * Looks again, at the leader: right before what cannot be repeated.
   * @throws ReentryError FENCED when the run is no longer ours
   */
  async checkOwner(): Promise<{ readonly cancelRequested: boolean }> {
    this.#seen = this.#stillOurs(await this.#runs.read(this.run, { leader: true }));
    return { cancelRequested: this.state.cancel !== undefined };
  }

  #stillOurs(seen: Versioned<RunState> | undefined): Versioned<RunState> {
    const fence = seen?.value.fence;
    if (seen === undefined || fence === undefined || !isSame(fence, this.#fence))
      throw new ReentryError('FENCED', `another worker owns ${this.run.tenant}/${this.run.runId}`, {
        transient: false,
      });
    return seen;
  }
}

function isSame(a: Fence, b: Fence): boolean {
  return a.stream === b.stream && a.seq === b.seq && a.epoch === b.epoch && a.by === b.by;
}
