/** Messages of the step queue, by lane: what a worker does next with a run. */
import { z } from 'zod';
import { count, version } from './fields.ts';
import { podProjectionSchema } from './pods.ts';
import { triggerEventSchema } from './triggers.ts';

/** Lane `start`: begin the attempt. */
export const startMessageSchema = z.looseObject({
  v: version,
  attempt: z.number().int().min(1),
  stateRev: count.optional(),
});
export type StartMessage = z.infer<typeof startMessageSchema>;

/** Lane `resume`: continue after a wait. `stateRev`, `subRev`: revisions of the state and the subscription it answers. */
export const resumeMessageSchema = z.looseObject({
  v: version,
  attempt: z.number().int().min(1),
  step: count,
  stateRev: count,
  subRev: count,
  event: triggerEventSchema,
});
export type ResumeMessage = z.infer<typeof resumeMessageSchema>;

/** Lane `ctl`: `cancel` the run, or decide about an `orphan`, a pod without a subscription. */
export const ctlMessageSchema = z.looseObject({
  v: version,
  kind: z.enum(['cancel', 'orphan']),
  reason: z.string().optional(),
  pod: podProjectionSchema.optional(),
});
export type CtlMessage = z.infer<typeof ctlMessageSchema>;
