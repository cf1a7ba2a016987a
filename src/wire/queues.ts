/** Queues: stored records, and what a triggerer answers about them. */
import { version, instant, count } from './fields.ts';
import { z } from 'zod';

/** A queue's gate, in KV `subs`; absent: open. */
export const queueRecordSchema = z.looseObject({
  v: version,
  paused: z.boolean(),
  at: instant,
  by: z.string().optional(),
  reason: z.string().optional(),
});
export type QueueRecord = z.infer<typeof queueRecordSchema>;

/** Who holds the slots of a tenant's concurrency key, in KV `subs`; absent: nobody. A run holds its slot until it has ended. */
export const concurrencySlotsSchema = z.looseObject({
  v: version,
  limit: z.number().int().min(1),
  holders: z.array(z.string()),
});
export type ConcurrencySlots = z.infer<typeof concurrencySlotsSchema>;

/** Where a waiting run stands in its queue, from 1; `why` as in a gate, or that its start is on the way. */
export const queuePositionSchema = z.looseObject({
  position: count,
  of: count,
  why: z.enum(['paused', 'turn', 'key', 'admitted']),
  reason: z.string().optional(),
});
export type QueuePosition = z.infer<typeof queuePositionSchema>;

/** One queue, as a triggerer sees it. */
export const queueLoadSchema = z.looseObject({
  queue: z.string(),
  paused: z.boolean(),
  at: instant.optional(),
  reason: z.string().optional(),
  /** Runs that wait for their turn. */
  waiting: count,
  /** How many of them are kept by what; those that may start, and wait for a worker only, are in none. Absent from earlier versions. */
  heldBack: z.looseObject({ turn: count, key: count, paused: count }).optional(),
  /** Runs that wait for a time: `startAfter`, a retry, a quota. */
  delayed: count,
  /** Runs with a pod. */
  running: count,
});
export type QueueLoad = z.infer<typeof queueLoadSchema>;
