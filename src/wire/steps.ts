/** Messages of the step queue, by lane: what a worker does next with a run. */
import { version, count } from './fields.ts';
import { podProjectionSchema } from './pods.ts';
import { triggerEventSchema } from './triggers.ts';
import { z } from 'zod';

/** lane `start` */
export const startMessageSchema = z.looseObject({
  v: version,
  attempt: z.number().int().min(1),
  stateRev: count.optional(),
});
export type StartMessage = z.infer<typeof startMessageSchema>;

/** lane `resume` */
export const resumeMessageSchema = z.looseObject({
  v: version,
  attempt: z.number().int().min(1),
  step: count,
  stateRev: count,
  subRev: count,
  event: triggerEventSchema,
});
export type ResumeMessage = z.infer<typeof resumeMessageSchema>;

/** lane `ctl`: carries no step. `orphan` reports a pod without a subscription. */
export const ctlMessageSchema = z.looseObject({
  v: version,
  kind: z.enum(['cancel', 'orphan']),
  reason: z.string().optional(),
  pod: podProjectionSchema.optional(),
});
export type CtlMessage = z.infer<typeof ctlMessageSchema>;
