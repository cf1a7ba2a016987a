/**
 * Who starts next: the one decision behind paused queues, priorities, concurrency keys and fair shares. A level like every other: whoever
 * holds the waiting runs computes it from what is there now, as often as anything changes, and comes to the same answer.
 *
 * Tenants take turns: the first waiting run of each comes before anybody's second. Priority orders a tenant's own runs, so no tenant gets
 * ahead of another by calling its runs urgent; it decides between tenants only within a turn. Then age decides.
 */
import { tenantKey } from '../core/tenant-key.ts';
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

/** Who holds the slots of a concurrency key. */
export interface SlotsHeld {
  readonly limit: number;
  /** Run ids. */
  readonly holders: readonly string[];
}

/** What lets runs of one queue start. */
export interface Gates {
  readonly paused: boolean;
  /** How many may be on their way to a pod at a time. */
  readonly window: number;
  /** `undefined`: nobody holds one, and the limit is not known. */
  readonly slotsOf: (tenant: string, concurrencyKey: string) => SlotsHeld | undefined;
}

/** Where a run stands, and what keeps it; `admitted`: nothing does. */
export interface Place<T extends Gated> {
  readonly gated: T;
  /** From 1. */
  readonly position: number;
  readonly verdict: 'admitted' | 'paused' | 'turn' | 'key';
}

/** Runs on their way to a pod at a time and queue: enough for several workers' credits, few enough to be overtaken soon. */
export const ADMISSION_WINDOW = 256;

const RANK: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };

const byPriorityAndAge = (a: Gated, b: Gated): number =>
  RANK[a.priority] - RANK[b.priority] || a.since - b.since || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** All waiting runs of a queue in the order in which they may start. */
export function admissionOrder<T extends Gated>(waiting: Iterable<T>): readonly T[] {
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

/** Where each waiting run of a queue stands, in order. A key without room lets others pass: nobody waits behind somebody else's key. */
export function places<T extends Gated>(waiting: Iterable<T>, gates: Gates): readonly Place<T>[] {
  const taken = new Map<string, number>();
  let left = gates.window;
  return admissionOrder(waiting).map((gated, index) => {
    const place = (verdict: Place<T>['verdict']) => ({ gated, position: index + 1, verdict });
    if (gates.paused) return place('paused');
    const { concurrencyKey, tenant, runId } = gated;
    if (concurrencyKey !== undefined) {
      const held = gates.slotsOf(tenant, concurrencyKey);
      const key = tenantKey(tenant, concurrencyKey);
      const used = taken.get(key) ?? 0;
      // It may hold a slot already: put back after an earlier attempt.
      if (held?.holders.includes(runId) !== true) {
        if (used >= (held?.limit ?? 1) - (held?.holders.length ?? 0)) return place('key');
        if (left > 0) taken.set(key, used + 1);
      }
    }
    if (left <= 0) return place('turn');
    left -= 1;
    return place('admitted');
  });
}
