/** Slots of a concurrency key: how many runs of one tenant with the same key run at once. */
import type { SlotsHeld } from './order.ts';

/** Limits by `tenant/key`, `key` or `*` (all others). */
export type ConcurrencyLimits = Readonly<Record<string, number>>;

/** How many runs with this key may run at once where nothing is said. */
export const DEFAULT_CONCURRENCY_LIMIT = 1;

/** The limit that counts: the narrowest name wins. */
export function limitOf(limits: ConcurrencyLimits, tenant: string, key: string): number {
  // A key is anybody's text: `constructor` is no limit.
  const named = [`${tenant}/${key}`, key, '*'].find((name) => Object.hasOwn(limits, name));
  return (named === undefined ? undefined : limits[named]) ?? DEFAULT_CONCURRENCY_LIMIT;
}

/** What asking for a slot comes to. `taken`: to be written over what was read. */
export type SlotAnswer =
  { readonly kind: 'held' } | { readonly kind: 'taken'; readonly slots: SlotsHeld } | { readonly kind: 'full' };

/** A slot for `runId`. The one whose turn it is asks; who came first was decided before. */
export function slotFor(slots: SlotsHeld | undefined, runId: string, limit: number): SlotAnswer {
  const holders = slots?.holders ?? [];
  if (holders.includes(runId)) return { kind: 'held' };
  if (holders.length >= limit) return { kind: 'full' };
  return { kind: 'taken', slots: { limit, holders: [...holders, runId] } };
}

/** The slots without these runs; `undefined` where nobody is left. */
export function slotsWithout({ limit, holders }: SlotsHeld, gone: readonly string[]): SlotsHeld | undefined {
  const left = holders.filter((runId) => !gone.includes(runId));
  return left.length === 0 ? undefined : { limit, holders: left };
}
