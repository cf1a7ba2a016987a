/** Requests and replies of the services that workers answer. */
import { z } from 'zod';
import type { PodRef } from '../core/pod/projection.ts';
import { count } from './fields.ts';
import type { Diagnosis, Outcome, Timings } from './outcome.ts';
import type { QueuePosition } from './queues.ts';
import type { Priority } from './run-request.ts';
import { PHASES } from './run-state.ts';
import type { Phase } from './run-state.ts';
import type { RunKey } from './subjects.ts';
import { QUEUE_PATTERN } from './tokens.ts';

const runId = z.string().min(1).describe('Id of the run.');

/** Why a service refused a request. */
export const serviceErrorSchema = z.looseObject({
  code: z.string().describe('Stable code, for programs.'),
  message: z.string().describe('One sentence, for people.'),
  problems: z
    .array(z.looseObject({ path: z.string(), message: z.string() }))
    .optional()
    .describe('Each invalid field, by its path.'),
});

/** Every reply is `{ ok }` or `{ error }`. */
export const serviceReplySchema = z.union([
  z.looseObject({ ok: z.json() }),
  z.looseObject({ error: serviceErrorSchema }),
]);
export type ServiceReply = { readonly ok: unknown } | { readonly error: z.infer<typeof serviceErrorSchema> };

/** `submit`: checks a run request and publishes it. */
export const submitRequestSchema = z.strictObject({
  runId: z.string().optional().describe('Idempotency key. Default: a new UUIDv7.'),
  queue: z
    .string()
    .regex(QUEUE_PATTERN)
    .optional()
    .describe('Default: `executor` for operator `command`, else `default`.'),
  request: z.json().describe('The run request.'),
  dryRun: z.boolean().optional().describe('Only checks the request.'),
});

/** `status` and `explain`: which run. */
export const runQuerySchema = z.strictObject({ runId });

/** `result`: a result, or the part of a result object from `offset` on. */
export const resultRequestSchema = runQuerySchema.extend({
  offset: count.default(0).describe('First byte of a large result to return.'),
});

/** `list`: one page of the tenant's runs, oldest change first. */
export const listRequestSchema = z.strictObject({
  after: count.optional().describe('`next` of the page before.'),
  limit: z.number().int().min(1).max(500).default(100).describe('Runs of one page.'),
  phase: z.enum(PHASES).optional().describe('Only runs in this phase.'),
});

/** `cancel`: ends a run. */
export const cancelRequestSchema = z.strictObject({
  runId,
  reason: z.string().max(500).optional().describe('Shown in the diagnosis of the run.'),
});

/** `logs`: one page of the stored log. */
export const logsRequestSchema = z.strictObject({
  runId,
  attempt: z.number().int().min(1).optional().describe('Only this attempt.'),
  container: z.string().min(1).max(253).optional().describe('Only this container.'),
  after: count.optional().describe('`next` of the page before.'),
  limit: z.number().int().min(1).max(1000).default(200).describe('Chunks of one page.'),
  follow: z
    .enum(['join', 'renew'])
    .optional()
    .describe(
      'Publishes the log on `live.<tenant>.<runId>.*` for 15 s more. `join`: again from the end of the stored log; `renew`: from where it is.',
    ),
});

/** `retry`: repeats an ended run as a new one. */
export const retryRequestSchema = z.strictObject({
  runId: runId.describe('The run to repeat.'),
  newRunId: z.string().optional().describe('Id of the new run, its idempotency key. Default: a new UUIDv7.'),
  queue: z.string().regex(QUEUE_PATTERN).optional().describe('Default: the queue of the ended run.'),
});

/** `render`: the pod that a run request would create. Nothing is created. */
export const renderRequestSchema = z.strictObject({
  request: z.json().describe('The run request.'),
  server: z
    .boolean()
    .optional()
    .describe('The pod as the API server would admit it, by a dry run. Default: as the worker would send it.'),
});

/** A run in the replies of `status` and `list`. */
export interface RunSummary extends RunKey {
  readonly phase: Phase;
  readonly queue: string;
  readonly operator: string;
  readonly attempt: number;
  readonly step: number;
  /** The run that this one repeats. */
  readonly parentRunId?: string;
  /** What it waits for, in words. */
  readonly waitingFor?: string;
  /** Why it cannot continue now: its start is delayed, no node takes its pod, its pod is not removed. */
  readonly blocked?: Diagnosis;
  readonly pod?: PodRef;
  /** How it ended; only where it has. */
  readonly outcome?: Outcome;
  /** How the previous attempt ended; only while the run waits for its next one. */
  readonly lastOutcome?: Outcome;
  readonly timings: Timings;
  readonly cancelRequested?: boolean;
  readonly priority?: Priority;
  readonly concurrencyKey?: string;
  /** Only for a run that waits for its turn, and where a triggerer answers. */
  readonly queuePosition?: QueuePosition;
}
