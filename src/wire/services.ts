/** Requests and replies of the services that workers answer. */
import type { PodRef } from '../core/pod/projection.ts';
import { count } from './fields.ts';
import type { Diagnosis, Timings, Outcome } from './outcome.ts';
import type { QueuePosition } from './queues.ts';
import type { Priority } from './run-request.ts';
import { PHASES } from './run-state.ts';
import type { Phase } from './run-state.ts';
import type { RunKey } from './subjects.ts';
import { QUEUE_PATTERN } from './tokens.ts';
import { z } from 'zod';

export const serviceErrorSchema = z.looseObject({
  code: z.string(),
  message: z.string(),
  problems: z.array(z.looseObject({ path: z.string(), message: z.string() })).optional(),
});

/** Every answer is `{ ok }` or `{ error }`. */
export const serviceReplySchema = z.union([
  z.looseObject({ ok: z.json() }),
  z.looseObject({ error: serviceErrorSchema }),
]);
export type ServiceReply = { readonly ok: unknown } | { readonly error: z.infer<typeof serviceErrorSchema> };

/** `svc.submit`: the request, with the run's id and queue beside it. */
export const submitRequestSchema = z.strictObject({
  runId: z.string().optional(),
  queue: z.string().regex(QUEUE_PATTERN).optional(),
  request: z.json(),
  dryRun: z.boolean().optional(),
});

export const runQuerySchema = z.strictObject({ runId: z.string().min(1) });

/** `svc.result`: of a result object, the part from `offset`. */
export const resultRequestSchema = runQuerySchema.extend({ offset: count.default(0) });

export const listRequestSchema = z.strictObject({
  after: count.optional(),
  limit: z.number().int().min(1).max(500).default(100),
  phase: z.enum(PHASES).optional(),
});

export const cancelRequestSchema = z.strictObject({ runId: z.string().min(1), reason: z.string().max(500).optional() });

export const logsRequestSchema = z.strictObject({
  runId: z.string().min(1),
  attempt: z.number().int().min(1).optional(),
  container: z.string().min(1).max(253).optional(),
  after: count.optional(),
  limit: z.number().int().min(1).max(1000).default(200),
  follow: z
    .enum(['join', 'renew'])
    .optional()
    .describe(
      'have the log sent live on `live.<tenant>.<runId>.*` for 15 s more: `join` from the end of the stored log again, `renew` from where it is',
    ),
});

/** `svc.retry`: the ended run, and the id of the one that repeats it (made where absent; the idempotency key of the retry). */
export const retryRequestSchema = z.strictObject({
  runId: z.string().min(1),
  newRunId: z.string().optional(),
  queue: z.string().regex(QUEUE_PATTERN).optional(),
});

export const renderRequestSchema = z.strictObject({ request: z.json(), server: z.boolean().optional() });

/** What `status` and `list` say of a run. */
export interface RunSummary extends RunKey {
  readonly phase: Phase;
  readonly queue: string;
  readonly operator: string;
  readonly attempt: number;
  readonly step: number;
  /** The run that this one repeats. */
  readonly parentRunId?: string;
  readonly waitingFor?: string;
  /** Why it cannot go on now: its start was put off, no node takes its pod, its pod does not go away. */
  readonly blocked?: Diagnosis;
  readonly pod?: PodRef;
  /** How it ended; only of a run that has. */
  readonly outcome?: Outcome;
  /** How the attempt before ended; only of a run that waits for its next one. */
  readonly lastOutcome?: Outcome;
  readonly timings: Timings;
  readonly cancelRequested?: boolean;
  readonly priority?: Priority;
  readonly concurrencyKey?: string;
  /** Where it stands in its queue; only for a run that waits for its turn, where a triggerer answers. */
  readonly queuePosition?: QueuePosition;
}
