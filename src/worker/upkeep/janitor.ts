/**
 * Repairs and deletions that no step does: retention, requests without a run, waiting runs whose subscription or message was lost, retained pods. One
 * worker at a time holds the lease; two at once do no harm.
 */
import { EMPTY, catchError, exhaustMap, from, ignoreElements, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { tenantKey } from '../../core/identity.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { announce } from '../protocol/announce.ts';
import type { AnnounceParts } from '../protocol/announce.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';
import { freeConcurrencySlots } from '../protocol/gates.ts';
import { removeRetainedPods } from './retained-pods.ts';
import { Retention } from './retention.ts';
import { UnclaimedRequests } from './unclaimed-requests.ts';

/** How often the lease is renewed. */
const LEASE_EVERY_MS = 5_000;
/** A lease that was not renewed for so long is free. */
const LEASE_FREE_AFTER_MS = 15_000;
const SWEEP_EVERY_MS = 60_000;
const RETAINED_PODS_EVERY_MS = 10 * 60_000;
const DELETION_MARKERS_AFTER_MS = 10 * 60_000;
/** A wait this far past its time was missed by every triggerer. */
const OVERDUE_MS = 10 * 60_000;
/** States per read. */
const PAGE = 500;
/** Sweeps start from the first sequence again, in case a bucket was lost and made anew. */
const RESTART_AFTER_MS = 3_600_000;

/** What the janitor takes. */
export type JanitorParts = AnnounceParts & BrokerParts<'membership' | 'sweep'> & Pick<Engine, 'id'>;

/** Settings of the janitor. */
export interface JanitorSettings {
  /** How long ended runs are kept. */
  readonly retentionMs: number;
  /** How long retained pods stay after their end; absent: for ever. */
  readonly keepPodMs?: number | undefined;
}

/** A worker's janitor, for as long as it is subscribed. Errors are logged; the next tick tries again. */
export function janitor$(parts: JanitorParts, settings: JanitorSettings): Observable<never> {
  const janitor = new Janitor(parts, settings);
  return timer(0, LEASE_EVERY_MS).pipe(
    // A sweep may take longer than the interval between two.
    exhaustMap(() =>
      from(janitor.tick(performance.now())).pipe(
        catchError((error: unknown) => {
          parts.log.warn({ error: String(error) }, 'a pass of the janitor failed; retrying');
          return EMPTY;
        }),
      ),
    ),
    ignoreElements(),
  );
}

/** One worker's janitor; `tick` is called every 5 s. */
export class Janitor {
  readonly #parts: JanitorParts;
  readonly #settings: JanitorSettings;
  readonly #unclaimed: UnclaimedRequests;
  readonly #retention: Retention;
  #lease: { readonly revision: number; readonly seenAt: number } | undefined;
  #owning = false;
  #sweptAt = Number.NEGATIVE_INFINITY;
  #podsSweptAt = Number.NEGATIVE_INFINITY;
  /** Waiting runs and the revisions of their states. One that is unchanged in the next sweep, a minute later, may be stuck. */
  readonly #waiting = new Map<string, { readonly run: RunKey; readonly revision: number }>();
  /** States up to this stream sequence have been read. A changed state is written after it. */
  #past = 0;
  #startedAt = Number.NEGATIVE_INFINITY;
  /** Concurrency keys that this sweep has checked. */
  #checkedKeys = new Set<string>();

  constructor(parts: JanitorParts, settings: JanitorSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#unclaimed = new UnclaimedRequests(parts);
    this.#retention = new Retention(parts, settings.retentionMs);
  }

  /** Renews or takes the lease; as its owner sweeps once a minute. `nowMs`: monotonic. */
  async tick(nowMs: number): Promise<void> {
    if (!(await this.#leads(nowMs)) || nowMs - this.#sweptAt < SWEEP_EVERY_MS) return;
    this.#sweptAt = nowMs;
    await this.sweep();
    // Rarely: it lists pods of every namespace.
    const { keepPodMs } = this.#settings;
    if (keepPodMs === undefined || nowMs - this.#podsSweptAt < Math.min(RETAINED_PODS_EVERY_MS, keepPodMs)) return;
    this.#podsSweptAt = nowMs;
    await removeRetainedPods(this.#parts, keepPodMs);
  }

  async #leads(nowMs: number): Promise<boolean> {
    const { membership } = this.#parts.broker;
    const present = await membership.readClaim(keys.janitor);
    if (present?.revision !== this.#lease?.revision || this.#lease === undefined)
      this.#lease = { revision: present?.revision ?? 0, seenAt: nowMs };
    const mine = this.#owning && present?.value.owner === this.#parts.id;
    const free = present === undefined || nowMs - this.#lease.seenAt >= LEASE_FREE_AFTER_MS;
    if (!mine && !free) return (this.#owning = false);
    const claim = { owner: this.#parts.id, epoch: (present?.value.epoch ?? 0) + (mine ? 0 : 1) };
    const revision = await membership.claim(keys.janitor, claim, present?.revision ?? 0);
    this.#owning = revision !== undefined;
    if (revision !== undefined) this.#lease = { revision, seenAt: nowMs };
    return this.#owning;
  }

  /** Checks what was written since the last sweep, all waiting runs, what is past its retention, and some of the requests. */
  async sweep(): Promise<void> {
    const { broker } = this.#parts;
    const now = broker.now();
    if (this.#startedAt + RESTART_AFTER_MS <= now) {
      this.#startedAt = now;
      this.#past = 0;
      this.#retention.restart();
    }
    this.#checkedKeys = new Set();
    const before = [...this.#waiting];
    await this.#readChanges();
    for (const [key, { run, revision }] of before) {
      // Written since: it goes on by itself.
      if (this.#waiting.get(key)?.revision !== revision) continue;
      await this.#attempt(run, async () => {
        const seen = await broker.runs.read(run, { atLeastRevision: revision });
        if (seen?.revision === revision) await this.#repair(run, seen.value, revision);
        // Its present state was written after what has been read.
        else this.#waiting.delete(key);
      });
    }
    await this.#retention.sweep(now, (run, act) => this.#attempt(run, act));
    await this.#unclaimed.sweep();
    await broker.sweep({ olderThanMs: DELETION_MARKERS_AFTER_MS, limit: 10_000 });
  }

  /** A failure with one run must not stop the sweep. */
  async #attempt(run: RunKey, act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      this.#parts.log.warn({ ...run, error: String(error) }, 'the janitor failed with a run; retrying');
      return false;
    }
  }

  /** Reads the states written since the last sweep and notes which runs wait. Each state is read once, however long it is kept. */
  async #readChanges(): Promise<void> {
    for (let more = true; more;) {
      const page = await this.#parts.broker.runs.list({ limit: PAGE, after: this.#past });
      for (const { value, revision, ...run } of page.runs) {
        const key = keys.run(run);
        if (value.phase === 'Deferred' || value.phase === 'Queued') {
          this.#waiting.set(key, { run, revision });
          await this.#attempt(run, () => this.#freeKey(run, value));
        } else this.#waiting.delete(key);
        this.#past = revision;
      }
      more = page.next !== undefined;
      this.#past = page.next ?? this.#past;
    }
  }

  /** Frees slots that ended runs still hold of the concurrency key that this run waits for; each key once a sweep. */
  async #freeKey(run: RunKey, state: RunState): Promise<void> {
    const waitsForKey = state.await?.gate?.concurrencyKey;
    if (waitsForKey === undefined) return;
    const key = tenantKey(run.tenant, waitsForKey);
    if (this.#checkedKeys.has(key)) return;
    this.#checkedKeys.add(key);
    await freeConcurrencySlots(this.#parts, run.tenant, waitsForKey);
  }

  /** Repairs a run that has waited unchanged since the last sweep: its message or subscription may be lost. */
  async #repair(run: RunKey, state: RunState, revision: number): Promise<void> {
    const { broker, log } = this.#parts;
    const now = broker.now();
    await this.#freeKey(run, state);
    const key = keys.run(run);
    if (state.await === undefined) {
      // Its start message may be lost. If not, the second one meets a run that is no longer queued.
      const message = { v: WIRE_VERSION, attempt: state.attempt, stateRev: revision };
      await broker.publish.start(run, state.queue, message, `janitor:${key}:${state.attempt}:${state.step}`);
      return;
    }
    const present = await broker.subscriptions.read(run);
    if (present === undefined || (present.value.stateRev < revision && present.value.step < state.step)) {
      log.warn({ ...run, step: state.step }, 'a waiting run has no subscription; repairing it');
      // Everything its state implies, in order: clean-up precedes the subscription.
      await announce(this.#parts, run, { value: state, revision }, 'resume');
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
