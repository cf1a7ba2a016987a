/** The waiting runs of the installation, by run, by pod and by shard. */
import { type Observable, Subject } from 'rxjs';
import { tenantKey } from '../core/identity.ts';
import type { SubscriptionChange } from '../ports/stores.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type Absence, carriedOver } from './absence-checks.ts';
import { type Firings, NOT_FIRED } from './firing.ts';
import type { Departed } from './watched-pods.ts';

/** A trigger subscription and what has come of it so far. Immutable: a look that changes nothing gives the same object. */
export interface Wait {
  readonly run: RunKey;
  readonly shard: string;
  readonly subscription: Subscription;
  /** Revision of the subscription; events are numbered within it. */
  readonly revision: number;
  /** When this revision was received, epoch milliseconds. */
  readonly arrivedAt: number;
  readonly firings: Firings;
  /** The step that a `running` event was fired for: there is one per step. */
  readonly loggedStep: number | undefined;
  /** What is known of the pod beside what the watch shows; `undefined` for nearly all. */
  readonly absence: Absence | undefined;
}

/** The key of a run in this process. */
export const keyOf = ({ tenant, runId }: RunKey): string => tenantKey(tenant, runId);

/** The wait of a subscription that was stored or changed. `departed`: its pod, where it left the watch before. */
export function waitOf(
  { run, shard, subscription, revision }: SubscriptionChange & { readonly kind: 'put' },
  before: Wait | undefined,
  departed: Departed | undefined,
  now: number,
): Wait {
  const isSamePod = before?.subscription.pod?.uid === subscription.pod?.uid;
  return {
    run,
    shard,
    subscription,
    revision,
    arrivedAt: now,
    firings: NOT_FIRED,
    loggedStep: before?.loggedStep === subscription.step ? before.loggedStep : undefined,
    absence: carriedOver(isSamePod ? before?.absence : undefined, departed),
  };
}

const NONE: readonly string[] = [];

/** All waits. An entry ends when its subscription is deleted. */
export class Waits {
  readonly #byRun = new Map<string, Wait>();
  /** Pod uid → key of the run that waits for it. */
  readonly #byUid = new Map<string, string>();
  /** A shard's runs: a take-over looks at these only. */
  readonly #byShard = new Map<string, Set<string>>();
  readonly #released$ = new Subject<string>();

  get size(): number {
    return this.#byRun.size;
  }

  /** How many runs of these shards wait. */
  sizeOf(shards: ReadonlySet<string>): number {
    return [...shards].reduce((total, shard) => total + (this.#byShard.get(shard)?.size ?? 0), 0);
  }

  /** Uids of pods that no run waits for any more. */
  get released$(): Observable<string> {
    return this.#released$;
  }

  get(key: string): Wait | undefined {
    return this.#byRun.get(key);
  }

  all(): Iterable<Wait> {
    return this.#byRun.values();
  }

  /** The key of the run that waits for this pod. */
  ofPod(uid: string): string | undefined {
    return this.#byUid.get(uid);
  }

  ofShards(shards: ReadonlySet<string>): readonly string[] {
    return [...shards].flatMap((shard) => [...(this.#byShard.get(shard) ?? NONE)]);
  }

  ofConnection(connection: string): readonly string[] {
    const keys: string[] = [];
    for (const [key, { subscription }] of this.#byRun) if (subscription.pod?.connection === connection) keys.push(key);
    return keys;
  }

  /** A new value of a wait whose subscription stays the same. */
  update(key: string, wait: Wait): void {
    this.#byRun.set(key, wait);
  }

  /** A subscription was stored or changed. */
  put(key: string, wait: Wait): void {
    const before = this.#byRun.get(key)?.subscription.pod?.uid;
    const uid = wait.subscription.pod?.uid;
    this.#byRun.set(key, wait);
    const siblings = this.#byShard.get(wait.shard);
    if (siblings === undefined) this.#byShard.set(wait.shard, new Set([key]));
    else siblings.add(key);
    if (uid !== undefined) this.#byUid.set(uid, key);
    if (before !== undefined && before !== uid) this.#release(key, before);
  }

  delete(key: string): void {
    const wait = this.#byRun.get(key);
    if (wait === undefined) return;
    this.#byRun.delete(key);
    this.#byShard.get(wait.shard)?.delete(key);
    if (wait.subscription.pod !== undefined) this.#release(key, wait.subscription.pod.uid);
  }

  #release(key: string, uid: string): void {
    if (this.#byUid.get(uid) !== key) return;
    this.#byUid.delete(uid);
    this.#released$.next(uid);
  }
}
