/**
 * The slots of one executor queue, as one executor knows them: who holds each, which pods live, and which launches are under way here. Every live pod
 * has a slot from before its creation until it has ended. A slot has one holder, decided by a compare-and-set in NATS, so there are never more live pods
 * than slots. Decides only; `start-permits.ts` writes. Times are monotonic milliseconds.
 */
import { createHash } from 'node:crypto';
import type { PodProjection } from '../core/pod/projection.ts';
import { tenantKey } from '../core/identity.ts';
import type { SlotChange } from '../ports/stores.ts';
import type { SlotHolder } from '../wire/presence.ts';
import type { RunKey } from '../wire/subjects.ts';

/** A live pod without a slot for this long, of an older version or a lost bucket, is given one. Before, its slot may only be slow to arrive. */
const UNSLOTTED_MS = 2_000;
/** A slot without a live pod or a launch here for this long is checked against its run; then after twice the time, and so on. */
const IDLE_MS = 1_500;
const MAX_IDLE_MS = 60_000;
/** How long a slot that another executor took first is left alone, unless its new holder arrives before. */
const LOST_RACE_MS = 5_000;
/** How many ended pods are remembered by uid: a pod may end before the reply to its creation arrives. */
const REMEMBERED_ENDS = 10_000;

/** One attempt of a run: it has at most one live pod. */
export interface RunAttempt extends RunKey {
  readonly attempt: number;
}

/** A slot to be written over `revision`, with a holder or without. */
export interface SlotWrite {
  readonly slot: number;
  readonly revision: number;
  readonly holder: SlotHolder | undefined;
}

/** A slot held by an attempt. */
export interface HeldSlot {
  readonly slot: number;
  readonly revision: number;
  readonly holder: SlotHolder;
}

/** How an attempt gets a slot: it has one here, it has one that another executor took (`takeOver`), or it takes a free one. */
export type SlotChoice = { readonly kind: 'has' } | { readonly kind: 'takeOver' | 'take'; readonly write: SlotWrite };

interface Known {
  readonly revision: number;
  readonly holder: SlotHolder | undefined;
  /** Uid of the pod that was created in it here. */
  uid?: string;
  /** When it is checked against its run next, and how long after that again. */
  checkAt: number;
  idleMs: number;
}

interface Launch {
  /** Start messages being handled. */
  handlers: number;
  /** The slot was taken for this launch, so that no pod is in it unless this launch made one. */
  readonly isNew: boolean;
  uid?: string | undefined;
  /** A creation was sent whose outcome is unknown. */
  isUncertain: boolean;
}

const idOf = ({ tenant, runId, attempt }: RunAttempt): string => `${String(attempt)} ${tenantKey(tenant, runId)}`;

/** Slots of one queue, as known to one executor. */
export class Slots {
  readonly #id: string;
  readonly #queue: string;
  readonly #parallelism: number;
  readonly #known = new Map<number, Known>();
  /** Number of slots by holder; more than one after a race of adoptions. */
  readonly #slotsOf = new Map<string, Set<number>>();
  #heldSlots = 0;
  /** Uids of live pods by attempt, as the watch shows them. */
  readonly #live = new Map<string, Set<string>>();
  #livePods = 0;
  readonly #ended = new Set<string>();
  /** Attempts with a live pod but no slot, and since when. */
  readonly #unslotted = new Map<string, { readonly attempt: RunAttempt; readonly since: number }>();
  readonly #launches = new Map<string, Launch>();
  /** Slots not to be written, until when: no end while a write is under way here, a while after another executor was first. */
  readonly #busy = new Map<number, number>();

  constructor({ id, queue, parallelism }: { id: string; queue: string; parallelism: number }) {
    this.#id = id;
    this.#queue = queue;
    this.#parallelism = parallelism;
  }

  /** Live pods of the queue, as the watch shows them. */
  get live(): number {
    return this.#livePods;
  }

  /** Launches under way here. */
  get launching(): number {
    return this.#launches.size;
  }

  /** Slots without a holder, less the live pods without a slot. */
  get free(): number {
    return Math.max(0, this.#parallelism - this.#heldSlots - this.#unslotted.size);
  }

  /** How an attempt gets a slot; `undefined`: none is free. The outcome of the write must be reported (`written`, `lost`, `failed`). */
  choose(attempt: RunAttempt, now: number): SlotChoice | undefined {
    const id = idOf(attempt);
    const holder = { tenant: attempt.tenant, runId: attempt.runId, attempt: attempt.attempt, by: this.#id };
    const [had] = this.#slotsOf.get(id) ?? [];
    const known = had === undefined ? undefined : this.#known.get(had);
    if (had !== undefined && known !== undefined) {
      // It may be being freed.
      if (this.#isBusy(had, now)) return undefined;
      if (known.holder?.by === this.#id) return { kind: 'has' };
      // Taken over: the executor that had it must no longer free it.
      return { kind: 'takeOver', write: this.#begin({ slot: had, revision: known.revision, holder }) };
    }
    if (this.free === 0 && !this.#unslotted.has(id)) return undefined;
    const slot = this.#firstFree(id, now);
    if (slot === undefined) return undefined;
    return { kind: 'take', write: this.#begin({ slot, revision: this.#known.get(slot)?.revision ?? 0, holder }) };
  }

  /** A write was stored. `false`: another executor has written the slot again since. */
  written({ slot, holder }: SlotWrite, revision: number, now: number): boolean {
    this.#busy.delete(slot);
    if ((this.#known.get(slot)?.revision ?? 0) > revision) return false;
    this.#set(slot, { holder, revision }, now);
    return true;
  }

  /** A write was not stored: another executor was first, and the watch will show its change. */
  lost({ slot, revision }: SlotWrite, now: number): void {
    // The change may have arrived before this answer.
    if ((this.#known.get(slot)?.revision ?? 0) === revision) this.#busy.set(slot, now + LOST_RACE_MS);
    else this.#busy.delete(slot);
  }

  /** The outcome of a write is unknown; the watch will show it. */
  failed({ slot }: SlotWrite): void {
    this.#busy.delete(slot);
  }

  /** The watch of slots shows a change. */
  change(change: Exclude<SlotChange, { readonly kind: 'synced' }>, now: number): void {
    const { slot } = change;
    // An older change may arrive after the answer to a write of this executor.
    const isOlder = change.kind === 'slot' && change.revision <= (this.#known.get(slot)?.revision ?? 0);
    if (isOlder) return;
    if (this.#busy.get(slot) !== Number.POSITIVE_INFINITY) this.#busy.delete(slot);
    this.#set(slot, change.kind === 'lost' ? undefined : change, now);
  }

  /** A launch begins in the slot that its attempt has. `isNew`: the slot was taken for it just now. */
  begin(attempt: RunAttempt, isNew: boolean): void {
    const launch = this.#launches.get(idOf(attempt));
    if (launch === undefined) this.#launches.set(idOf(attempt), { handlers: 1, isNew, isUncertain: false });
    else launch.handlers += 1;
  }

  /** The launch has created its pod, or found it. */
  created(attempt: RunAttempt, uid: string): void {
    const launch = this.#launches.get(idOf(attempt));
    if (launch !== undefined) launch.uid = uid;
    for (const slot of this.#slotsOf.get(idOf(attempt)) ?? []) {
      const known = this.#known.get(slot);
      if (known !== undefined) known.uid = uid;
    }
  }

  /** Whether the launch created a pod is unknown. */
  uncertain(attempt: RunAttempt): void {
    const launch = this.#launches.get(idOf(attempt));
    if (launch !== undefined) launch.isUncertain = true;
  }

  /** The launch's message is settled. The slots to be freed: those of a launch that certainly has no live pod. */
  end(attempt: RunAttempt): readonly SlotWrite[] {
    const id = idOf(attempt);
    const launch = this.#launches.get(id);
    if (launch === undefined) return [];
    launch.handlers -= 1;
    if (launch.handlers > 0) return [];
    this.#launches.delete(id);
    const { uid, isNew, isUncertain } = launch;
    const hasNoPod = uid === undefined ? isNew && !isUncertain && !this.#live.has(id) : this.#ended.has(uid);
    return hasNoPod ? this.#releases(id) : [];
  }

  /** The watch shows a pod. The slots to be freed. */
  see(pod: PodProjection, now: number): readonly SlotWrite[] {
    const attempt = this.#attemptOf(pod);
    if (attempt === undefined) return [];
    if (pod.phase === 'Succeeded' || pod.phase === 'Failed') return this.gone(pod, now);
    const id = idOf(attempt);
    const uids = this.#live.get(id) ?? new Set<string>();
    if (!uids.has(pod.uid)) {
      this.#live.set(id, uids.add(pod.uid));
      this.#livePods += 1;
      this.#matched(id, attempt, now);
    }
    return [];
  }

  /** A pod has ended or was deleted. The slots to be freed: the executor that took a slot frees it. */
  gone(pod: PodProjection, now: number): readonly SlotWrite[] {
    const attempt = this.#attemptOf(pod);
    if (attempt === undefined) return [];
    const id = idOf(attempt);
    const uids = this.#live.get(id);
    const wasLive = uids?.delete(pod.uid) === true;
    if (wasLive) this.#livePods -= 1;
    if (uids?.size === 0) this.#live.delete(id);
    this.#ended.add(pod.uid);
    if (this.#ended.size > REMEMBERED_ENDS) for (const oldest of this.#ended) if (this.#ended.delete(oldest)) break;
    this.#matched(id, attempt, now);
    for (const slot of this.#slotsOf.get(id) ?? []) this.#idleFrom(slot, now);
    // A launch under way may be making another pod of this attempt; its end decides.
    if (this.#live.has(id) || this.#launches.has(id)) return [];
    return this.#releases(id).filter(({ slot }) => wasLive || this.#known.get(slot)?.uid === pod.uid);
  }

  /** Attempts whose live pods have had no slot for a while: each is to be given one. With `atOnce` all of them. */
  unslotted(now: number, atOnce = false): readonly RunAttempt[] {
    return [...this.#unslotted.values()]
      .filter(({ attempt, since }) => (atOnce || now - since >= UNSLOTTED_MS) && !this.#launches.has(idOf(attempt)))
      .map(({ attempt }) => attempt);
  }

  /** Slots that may have been left over: held without a live pod or a launch here. Each is given again after twice the time. */
  idle(now: number): readonly HeldSlot[] {
    const idle: HeldSlot[] = [];
    for (const [slot, known] of this.#known) {
      const { holder, revision, checkAt } = known;
      if (holder === undefined || checkAt > now || this.#live.has(idOf(holder)) || this.#launches.has(idOf(holder)))
        continue;
      known.idleMs = Math.min(MAX_IDLE_MS, 2 * known.idleMs);
      known.checkAt = now + known.idleMs;
      idle.push({ slot, revision, holder });
    }
    return idle;
  }

  /** The write that frees a slot, unless it has changed or a launch has begun in it. */
  release({ slot, revision, holder }: HeldSlot): SlotWrite | undefined {
    const id = idOf(holder);
    if (this.#known.get(slot)?.revision !== revision || this.#live.has(id) || this.#launches.has(id)) return undefined;
    return this.#begin({ slot, revision, holder: undefined });
  }

  #attemptOf({ queue, tenant = '', runId = '', attempt = 1 }: PodProjection): RunAttempt | undefined {
    return queue === this.#queue ? { tenant, runId, attempt } : undefined;
  }

  /** The writes that free what this executor took for an attempt. */
  #releases(id: string): readonly SlotWrite[] {
    const own = [...(this.#slotsOf.get(id) ?? [])].flatMap((slot) => {
      const known = this.#known.get(slot);
      return known?.holder?.by === this.#id ? [{ slot, revision: known.revision, holder: undefined }] : [];
    });
    return own.map((write) => this.#begin(write));
  }

  #begin(write: SlotWrite): SlotWrite {
    this.#busy.set(write.slot, Number.POSITIVE_INFINITY);
    return write;
  }

  #isBusy(slot: number, now: number): boolean {
    return (this.#busy.get(slot) ?? 0) > now;
  }

  /** The first free slot from one that the attempt's hash gives: two executors that start one attempt ask for the same slot, others for others. */
  #firstFree(id: string, now: number): number | undefined {
    const first = createHash('sha256').update(id).digest().readUInt32BE() % this.#parallelism;
    for (let n = 0; n < this.#parallelism; n += 1) {
      const slot = (first + n) % this.#parallelism;
      if (this.#known.get(slot)?.holder === undefined && !this.#isBusy(slot, now)) return slot;
    }
    return undefined;
  }

  #set(slot: number, now: Pick<Known, 'holder' | 'revision'> | undefined, at: number): void {
    const before = this.#known.get(slot)?.holder;
    if (before !== undefined) {
      const slots = this.#slotsOf.get(idOf(before));
      slots?.delete(slot);
      if (slots?.size === 0) this.#slotsOf.delete(idOf(before));
      this.#heldSlots -= 1;
    }
    if (now === undefined) this.#known.delete(slot);
    else this.#known.set(slot, { holder: now.holder, revision: now.revision, checkAt: at + IDLE_MS, idleMs: IDLE_MS });
    const after = now?.holder;
    if (after !== undefined) {
      const slots = this.#slotsOf.get(idOf(after)) ?? new Set<number>();
      this.#slotsOf.set(idOf(after), slots.add(slot));
      this.#heldSlots += 1;
    }
    for (const holder of [before, after]) if (holder !== undefined) this.#matched(idOf(holder), holder, at);
  }

  #idleFrom(slot: number, now: number): void {
    const known = this.#known.get(slot);
    if (known !== undefined) Object.assign(known, { checkAt: now + IDLE_MS, idleMs: IDLE_MS });
  }

  /** Notes whether an attempt has live pods but no slot. */
  #matched(id: string, attempt: RunAttempt, now: number): void {
    if (this.#slotsOf.has(id) || !this.#live.has(id)) this.#unslotted.delete(id);
    else if (!this.#unslotted.has(id)) this.#unslotted.set(id, { attempt, since: now });
  }
}
