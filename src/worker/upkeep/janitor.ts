/** What nobody else repairs: retention, requests without a run, and waits that lost their subscription or message. One worker at a time; two are harmless. @see spec protocol §10 */
import { isTerminal } from '../../core/run/transitions.ts';
import type { RunState } from '../../wire/run-state.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from '../protocol/engine.ts';
import { removeKeptPods } from './retained-pods.ts';
import { freeSlots } from '../protocol/gates.ts';
import { owe } from '../protocol/announce.ts';
import { UnclaimedRequests } from './unclaimed-requests.ts';

/** How often the lease is renewed, and how long it stands unrenewed before it is free. */
export const LEASE_EVERY_MS = 5_000;
const LEASE_FREE_AFTER_MS = 15_000;
const SWEEP_EVERY_MS = 60_000;
const KEPT_EVERY_MS = 10 * 60_000;
const TOMBSTONES_AFTER_MS = 10 * 60_000;
/** A timer this late was missed by every triggerer. */
const OVERDUE_MS = 10 * 60_000;
const PAGE = 500;
/** From the beginning again: for a bucket that was lost and made anew, whose places begin anew as well. */
const FROM_THE_BEGINNING_AFTER_MS = 3_600_000;
/** Runs that one sweep forgets or passes by at most. */
const FORGET_AT_MOST = 10_000;
/** Ended runs that are to be kept, before it is believed that so are all that follow: workers' clocks may differ. */
const YOUNG_ENOUGH = 10;

/** Settings of the janitor. */
export interface JanitorSettings {
  /** How long ended runs are kept. Default 7 days. */
  readonly retentionMs: number;
  /** How long kept pods stay after their end, in milliseconds; absent: for ever. */
  readonly keepPodMs?: number | undefined;
}

/** One worker's janitor; `tick` every `LEASE_EVERY_MS`. */
export class Janitor {
  readonly #engine: Engine;
  readonly #settings: JanitorSettings;
  readonly #unclaimed: UnclaimedRequests;
  #lease: { readonly revision: number; readonly seenAt: number } | undefined;
  #owning = false;
  #sweptAt = Number.NEGATIVE_INFINITY;
  #keptLookedAt = Number.NEGATIVE_INFINITY;
  /** Runs that wait, as they were last written: what is the same in the next sweep, a minute later, is not merely in between. */
  readonly #waiting = new Map<string, { readonly run: RunKey; readonly revision: number }>();
  /** States up to this place of the bucket have been met. What changes is written anew, behind it. */
  #past = 0;
  /** Ended runs up to this place have been forgotten. */
  #forgottenPast = 0;
  #begunAt = Number.NEGATIVE_INFINITY;
  /** Concurrency keys that this sweep has looked at. */
  #keysSeen = new Set<string>();

  constructor(engine: Engine, settings: JanitorSettings) {
    this.#engine = engine;
    this.#settings = settings;
    this.#unclaimed = new UnclaimedRequests(engine);
  }

  /** Renews or takes the lease; as its owner sweeps once a minute. `nowMs`: monotonic. */
  async tick(nowMs: number): Promise<void> {
    if (!(await this.#leads(nowMs)) || nowMs - this.#sweptAt < SWEEP_EVERY_MS) return;
    this.#sweptAt = nowMs;
    await this.sweep();
    // A list of the API per namespace: seldom.
    const { keepPodMs } = this.#settings;
    if (keepPodMs === undefined || nowMs - this.#keptLookedAt < Math.min(KEPT_EVERY_MS, keepPodMs)) return;
    this.#keptLookedAt = nowMs;
    await removeKeptPods(this.#engine, keepPodMs);
  }

  async #leads(nowMs: number): Promise<boolean> {
    const { membership } = this.#engine.broker;
    const present = await membership.readClaim(keys.janitor);
    if (present?.revision !== this.#lease?.revision || this.#lease === undefined)
      this.#lease = { revision: present?.revision ?? 0, seenAt: nowMs };
    const mine = this.#owning && present?.value.owner === this.#engine.id;
    const free = present === undefined || nowMs - this.#lease.seenAt >= LEASE_FREE_AFTER_MS;
    if (!mine && !free) return (this.#owning = false);
    const claim = { owner: this.#engine.id, epoch: (present?.value.epoch ?? 0) + (mine ? 0 : 1) };
    const revision = await membership.claim(keys.janitor, claim, present?.revision ?? 0);
    this.#owning = revision !== undefined;
    if (revision !== undefined) this.#lease = { revision, seenAt: nowMs };
    return this.#owning;
  }

  /** Looks at what was written since the last sweep, at all that waits, at what was kept for long enough, and at some of the requests. */
  async sweep(): Promise<void> {
    const { broker } = this.#engine;
    const now = broker.now();
    if (this.#begunAt + FROM_THE_BEGINNING_AFTER_MS <= now) {
      this.#begunAt = now;
      this.#past = 0;
      this.#forgottenPast = 0;
    }
    this.#keysSeen = new Set();
    const before = [...this.#waiting];
    await this.#meet();
    for (const [key, { run, revision }] of before) {
      // Written since: it is on its way.
      if (this.#waiting.get(key)?.revision !== revision) continue;
      await this.#carefully(run, async () => {
        const seen = await broker.runs.read(run, { atLeastRevision: revision });
        if (seen?.revision === revision) await this.#mend(run, seen.value, revision);
        // What it is now was written behind the place up to which states have been met.
        else this.#waiting.delete(key);
      });
    }
    await this.#forget(now);
    await this.#unclaimed.sweep();
    await broker.sweep({ olderThanMs: TOMBSTONES_AFTER_MS, limit: 10_000 });
  }

  /** One run that cannot be mended now must not keep the others from it. */
  async #carefully(run: RunKey, look: () => Promise<void>): Promise<boolean> {
    try {
      await look();
      return true;
    } catch (error) {
      this.#engine.log.warn({ ...run, error: String(error) }, 'the janitor could not mend a run; tried again');
      return false;
    }
  }

  /** Notes who waits, of the states written since the last sweep: each state is met once, however long it is kept. */
  async #meet(): Promise<void> {
    for (let more = true; more;) {
      const page = await this.#engine.broker.runs.list({ limit: PAGE, after: this.#past });
      for (const { value, revision, ...run } of page.runs) {
        const key = keys.run(run);
        if (value.phase === 'Deferred' || value.phase === 'Queued') {
          this.#waiting.set(key, { run, revision });
          await this.#carefully(run, () => this.#freeKey(run, value));
        } else this.#waiting.delete(key);
        this.#past = revision;
      }
      more = page.next !== undefined;
      this.#past = page.next ?? this.#past;
    }
  }

  /** Deletes the runs that ended long enough ago: an end is a state's last write, so they stand in the order of their ends. */
  async #forget(now: number): Promise<void> {
    const { runs, requests, subscriptions } = this.#engine.broker;
    let past = this.#forgottenPast;
    let kept: number | undefined;
    let young = 0;
    for (let looked = 0; looked < FORGET_AT_MOST && young < YOUNG_ENOUGH; looked += 1) {
      const [entry] = (await runs.list({ limit: 1, after: past })).runs;
      if (entry === undefined) break;
      const { value, revision, ...run } = entry;
      if (isTerminal(value.phase)) {
        const isDue = (value.timings.completedAt ?? now) + this.#settings.retentionMs <= now;
        if (!isDue) young += 1;
        const gone =
          isDue &&
          (await this.#carefully(run, async () => {
            await subscriptions.delete(run);
            await requests.delete(run);
            await runs.delete(run, revision);
          }));
        if (!gone) kept ??= past;
      }
      past = revision;
    }
    this.#forgottenPast = kept ?? past;
  }

  /** Gives back what runs that are over still hold of the key that this one waits for; each key once a sweep. */
  async #freeKey(run: RunKey, state: RunState): Promise<void> {
    const waitsForKey = state.await?.gate?.concurrencyKey;
    if (waitsForKey === undefined || this.#keysSeen.has(`${run.tenant}/${waitsForKey}`)) return;
    this.#keysSeen.add(`${run.tenant}/${waitsForKey}`);
    await freeSlots(this.#engine, run.tenant, waitsForKey);
  }

  /** A run that has waited unchanged since the last sweep: its message or subscription may be lost. */
  async #mend(run: RunKey, state: RunState, revision: number): Promise<void> {
    const { broker, log } = this.#engine;
    const now = broker.now();
    await this.#freeKey(run, state);
    const key = keys.run(run);
    if (state.await === undefined) {
      // Its start message may be lost; a second one finds the run no longer queued.
      const message = { v: WIRE_VERSION, attempt: state.attempt, stateRev: revision };
      await broker.publish.start(run, state.queue, message, `janitor:${key}:${state.attempt}:${state.step}`);
      return;
    }
    const present = await broker.subscriptions.read(run);
    if (present === undefined || (present.value.stateRev < revision && present.value.step < state.step)) {
      log.warn({ ...run, step: state.step }, 'a waiting run had lost its subscription');
      // All that its lost owner owed: clean-up comes before the subscription.
      await owe(this.#engine, run, { value: state, revision }, 'resume');
    } else if (
      state.phase === 'Queued' &&
      state.await.gone !== true &&
      state.await.gate === undefined &&
      (state.await.notBefore ?? now) + OVERDUE_MS < now
    ) {
      const message = { v: WIRE_VERSION, attempt: state.attempt, stateRev: revision };
      const hour = Math.floor(now / 3_600_000);
      await broker.publish.start(run, state.queue, message, `janitor:${key}:${state.attempt}:${state.step}:${hour}`);
    }
  }
}
