/** Concurrency slots: how many runs of one tenant with the same concurrency key run at once. */
import type { SlotHolders } from './order.ts';

/** Limits by `tenant/key`, `key` or `*` (all others). */
export type ConcurrencyLimits = Readonly<Record<string, number>>;

/** How many runs with one key may run at once where no limit is configured. */
export const DEFAULT_CONCURRENCY_LIMIT = 1;

/** The limit that applies: the narrowest name wins. */
export function limitOf(limits: ConcurrencyLimits, tenant: string, key: string): number {
  // A key may be any text: `constructor` is no limit.
  const named = [`${tenant}/${key}`, key, '*'].find((name) => Object.hasOwn(limits, name));
  return (named === undefined ? undefined : limits[named]) ?? DEFAULT_CONCURRENCY_LIMIT;
}

/** The outcome of asking for a slot. `taken`: to be written over what was read. */
export type SlotAnswer =
  { readonly kind: 'held' } | { readonly kind: 'taken'; readonly slots: SlotHolders } | { readonly kind: 'full' };

/** A slot for `runId`, whose turn it is: the order among waiting runs was decided before. */
export function slotFor(slots: SlotHolders | undefined, runId: string, limit: number): SlotAnswer {
  const holders = slots?.holders ?? [];
  if (holders.includes(runId)) return { kind: 'held' };
  if (holders.length >= limit) return { kind: 'full' };
  return { kind: 'taken', slots: { limit, holders: [...holders, runId] } };
}

/** The slots without these runs; `undefined` where no holder is left. */
export function slotsWithout({ limit, holders }: SlotHolders, gone: readonly string[]): SlotHolders | undefined {
  const left = holders.filter((runId) => !gone.includes(runId));
  return left.length === 0 ? undefined : { limit, holders: left };
}
