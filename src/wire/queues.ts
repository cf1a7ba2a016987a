/** Queues: stored records, and what a triggerer answers about them. */
import { z } from 'zod';
import { count, instant, version } from './fields.ts';

/** Whether a queue is paused, in bucket `subs`. Absent: it is open. */
export const queueRecordSchema = z.looseObject({
  v: version,
  paused: z.boolean(),
  at: instant,
  by: z.string().optional(),
  reason: z.string().optional(),
});
export type QueueRecord = z.infer<typeof queueRecordSchema>;

/** The runs that hold the slots of a tenant's concurrency key, in bucket `subs`. Absent: none does. A run holds its slot until it has ended. */
export const concurrencySlotsSchema = z.looseObject({
  v: version,
  limit: z.number().int().min(1),
  holders: z.array(z.string()),
});
export type ConcurrencySlots = z.infer<typeof concurrencySlotsSchema>;

/** Position of a waiting run in its queue. */
export const queuePositionSchema = z.looseObject({
  position: count.describe('From 1.'),
  of: count.describe('Waiting runs of the queue.'),
  why: z
    .enum(['paused', 'turn', 'key', 'admitted'])
    .describe(
      'What holds it back: a paused queue, its turn, its concurrency key. `admitted`: its start is on the way.',
    ),
  reason: z.string().optional().describe('Given when the queue was paused.'),
});
export type QueuePosition = z.infer<typeof queuePositionSchema>;

/** Load of one queue, as a triggerer sees it. */
export const queueLoadSchema = z.looseObject({
  queue: z.string(),
  paused: z.boolean(),
  at: instant.optional(),
  reason: z.string().optional(),
  /** Runs that wait for their turn. */
  waiting: count,
  /** How many of those are held back, by reason. Runs that may start, and only wait for a worker, are in none of them. */
  heldBack: z.looseObject({ turn: count, key: count, paused: count }).optional(),
  /** Runs that wait for a time: `startAfter`, a retry, a quota. */
  delayed: count,
  /** Runs with a pod. */
  running: count,
});
export type QueueLoad = z.infer<typeof queueLoadSchema>;
