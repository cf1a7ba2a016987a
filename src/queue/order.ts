/**
 * Who starts next: paused queues, priorities, concurrency keys and fair shares in one pure decision. Every triggerer computes it from what
 * waits now, as often as anything changes, and comes to the same answer.
 *
 * Tenants take turns: the first waiting run of each comes before the second of any. Priority orders a tenant's own runs, so no tenant gets
 * ahead of another by calling its runs urgent; between tenants it decides only within a turn. Then age decides.
 */
import { tenantKey } from '../core/identity.ts';
import type { ConcurrencySlots, QueuePosition } from '../wire/queues.ts';
import type { Priority } from '../wire/run-request.ts';

/** A run that waits for its turn. */
export interface Gated {
  /** Names the run; the last tie-break, so that the order is total. */
  readonly id: string;
  readonly tenant: string;
  readonly priority: Priority;
  /** When it was accepted, epoch milliseconds. */
  readonly since: number;
  readonly runId: string;
  readonly concurrencyKey?: string | undefined;
}

/** The holders of a concurrency key's slots (run ids), and how many there may be. */
export type SlotHolders = Readonly<Pick<ConcurrencySlots, 'limit'>> & { readonly holders: readonly string[] };

/** What lets runs of one queue start. */
export interface Gates {
  readonly paused: boolean;
  /** How many may be on their way to a pod at a time. */
  readonly window: number;
  /** `undefined`: no run holds one, and the limit is not known. */
  readonly slotsOf: (tenant: string, concurrencyKey: string) => SlotHolders | undefined;
}

/** Where a run stands in its queue, and what holds it back; `admitted`: nothing does. */
export interface Position<T extends Gated> {
  readonly gated: T;
  /** From 1. */
  readonly position: number;
  readonly verdict: QueuePosition['why'];
}

/** Runs of a queue that may be on their way to a pod at a time: enough for several workers' credits, few enough to be overtaken soon. */
export const START_WINDOW = 256;

const RANK: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };

const byPriorityAndAge = (a: Gated, b: Gated): number =>
  RANK[a.priority] - RANK[b.priority] || a.since - b.since || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** All waiting runs of a queue in the order in which they may start. */
export function startOrder<T extends Gated>(waiting: Iterable<T>): readonly T[] {
  const byTenant = new Map<string, T[]>();
  for (const gated of waiting) {
    const own = byTenant.get(gated.tenant);
    if (own === undefined) byTenant.set(gated.tenant, [gated]);
    else own.push(gated);
  }
  const turns: T[][] = [];
  for (const own of byTenant.values())
    for (const [turn, gated] of own.sort(byPriorityAndAge).entries()) (turns[turn] ??= []).push(gated);
  return turns.flatMap((turn) => turn.sort(byPriorityAndAge));
}

/** The position of each waiting run of a queue, in order. A key without a free slot lets other runs pass: no run waits behind a key that is not its own. */
export function queuePositions<T extends Gated>(waiting: Iterable<T>, gates: Gates): readonly Position<T>[] {
  const taken = new Map<string, number>();
  let left = gates.window;
  return startOrder(waiting).map((gated, index) => {
    const at = (verdict: Position<T>['verdict']) => ({ gated, position: index + 1, verdict });
    if (gates.paused) return at('paused');
    const { concurrencyKey, tenant, runId } = gated;
    if (concurrencyKey !== undefined) {
      const slots = gates.slotsOf(tenant, concurrencyKey);
      const key = tenantKey(tenant, concurrencyKey);
      const used = taken.get(key) ?? 0;
      // It may hold a slot already: requeued after an earlier attempt.
      if (slots?.holders.includes(runId) !== true) {
        if (used >= (slots?.limit ?? 1) - (slots?.holders.length ?? 0)) return at('key');
        if (left > 0) taken.set(key, used + 1);
      }
    }
    if (left <= 0) return at('turn');
    left -= 1;
    return at('admitted');
  });
}
