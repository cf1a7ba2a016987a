/**
 * Every message and stored value, as a schema. Requests are strict: an unknown field is refused with its path.
 * Internal messages carry `v`, keep unknown fields and are read from v−1 to v+1. @see design §5 "Schemas"
 */
import { z } from 'zod';
import type { ContainerProjection, PodProjection, PodRef } from '../core/pod/projection.ts';
import type { RunKey } from './subjects.ts';
import { TRACEPARENT } from '../core/trace-context.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import { isTokenText, QUEUE_PATTERN } from './tokens.ts';

export { WIRE_VERSION };
/** Largest run request, in bytes. @see spec protocol §2 `reqs` */
export const MAX_REQUEST_BYTES = 256 * 1024;
/** Largest result kept inline in state and event, in bytes. */
export const MAX_INLINE_RESULT_BYTES = 4 * 1024;
/** Largest log chunk, in bytes. */
export const MAX_LOG_CHUNK_BYTES = 64 * 1024;

/** Every internal message's `v`. */
export const version = z
  .number()
  .int()
  .min(WIRE_VERSION - 1)
  .max(WIRE_VERSION + 1);
export const instant = z.number().int().nonnegative().describe('epoch milliseconds, broker time');
export const count = z.number().int().nonnegative();
const seconds = z
  .number()
  .nonnegative()
  .max(366 * 24 * 3600);

// --- what clients send

/** What the run belongs to in the user's world; labels and templates use it. */
export const runContextSchema = z.strictObject({
  dagId: z.string().max(250).optional(),
  taskId: z.string().max(250).optional(),
  runId: z.string().max(250).optional().describe("the DAG run's id"),
  mapIndex: z.number().int().min(-1).optional(),
  parentDagId: z.string().max(250).optional(),
  logicalDate: z.iso.datetime({ offset: true }).optional(),
  params: z.record(z.string(), z.json()).optional(),
});
export type RunContext = z.infer<typeof runContextSchema>;

/** Levels of urgency among a tenant's own runs. */
export const PRIORITIES = ['high', 'normal', 'low'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** The envelope of a run request; `params` is checked by the operator's own schema. @see design §3 */
export const runRequestSchema = z.strictObject({
  operator: z.string().min(1).max(64).default('pod'),
  params: z.record(z.string(), z.json()).default({}),
  context: runContextSchema.default({}),
  retries: z.number().int().min(0).max(100).default(0),
  retryDelaySeconds: seconds.default(30),
  retryExponentialBackoff: z.boolean().default(false),
  maxRetryDelaySeconds: seconds.default(600),
  executionTimeoutSeconds: z
    .number()
    .positive()
    .max(366 * 24 * 3600)
    .optional(),
  expireSeconds: z
    .number()
    .positive()
    .max(366 * 24 * 3600)
    .optional(),
  startAfter: z.iso.datetime({ offset: true }).optional(),
  parentRunId: z.string().min(1).max(128).optional().describe('the run that this one repeats'),
  priority: z.enum(PRIORITIES).optional().describe("order among the tenant's own waiting runs; normal where absent"),
  concurrencyKey: z
    .string()
    .refine(isTokenText, 'must be 1 to 128 characters once encoded as a subject token')
    .optional()
    .describe('runs of one tenant with the same key run at most as many at once as REENTRY_CONCURRENCY_LIMITS says'),
  traceparent: z
    .string()
    .regex(TRACEPARENT, 'must be a W3C traceparent')
    .optional()
    .describe('the trace that the run belongs to'),
  annotations: z.record(z.string(), z.string()).default({}),
});
export type RunRequest = z.infer<typeof runRequestSchema>;
export type RunRequestInput = z.input<typeof runRequestSchema>;
/** The same as it was stored, perhaps by a worker of the next version: what it added is kept. */
export const storedRequestSchema = z.looseObject(runRequestSchema.shape);

// --- pods as they travel

const podRefSchema = z.looseObject({
  connection: z.string(),
  namespace: z.string(),
  name: z.string(),
  uid: z.string(),
}) satisfies z.ZodType<PodRef>;

const containerSchema = z.looseObject({
  name: z.string(),
  kind: z.enum(['init', 'sidecar', 'main']),
  state: z.enum(['waiting', 'running', 'terminated']),
  reason: z.string().optional(),
  message: z.string().optional(),
  exitCode: z.number().int().optional(),
  signal: z.number().int().optional(),
  startedAt: instant.optional(),
  finishedAt: instant.optional(),
  restartCount: count,
}) satisfies z.ZodType<ContainerProjection>;

/** The final pod projection inside a trigger event: re-entry works when the pod is already gone, without a GET. */
export const podProjectionSchema = podRefSchema.extend({
  resourceVersion: z.string(),
  phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']),
  reason: z.string().optional(),
  message: z.string().optional(),
  node: z.string().optional(),
  createdAt: instant,
  deletedAt: instant.optional(),
  scheduledAt: instant.optional(),
  unschedulable: z.looseObject({ reason: z.string(), message: z.string() }).optional(),
  gates: z.string().optional(),
  ungatedAt: instant.optional(),
  disruption: z.string().optional(),
  baseContainer: z.string(),
  containers: z.array(containerSchema),
  tenant: z.string().optional(),
  runId: z.string().optional(),
  attempt: count.optional(),
  queue: z.string().optional(),
  alreadyChecked: z.boolean(),
}) satisfies z.ZodType<PodProjection>;

// --- diagnosis and outcome

/** The structured "why" of a run that failed, waits too long or was cancelled. */
export const diagnosisSchema = z.looseObject({
  code: z.string(),
  category: z.enum(['user', 'infrastructure', 'request', 'timeout', 'cancelled']),
  summary: z.string(),
  evidence: z.array(z.looseObject({ kind: z.string(), text: z.string() })).default([]),
  hint: z.string().optional(),
  problems: z.array(z.looseObject({ path: z.string(), message: z.string() })).optional(),
});
export type Diagnosis = z.infer<typeof diagnosisSchema>;

export const FINAL_STATES = ['succeeded', 'failed', 'skipped', 'cancelled'] as const;
export type FinalState = (typeof FINAL_STATES)[number];

const timingsSchema = z.looseObject({
  acceptedAt: instant.optional(),
  launchedAt: instant.optional(),
  startedAt: instant.optional(),
  finishedAt: instant.optional(),
  resumedAt: instant.optional(),
  completedAt: instant.optional(),
});
export type Timings = z.infer<typeof timingsSchema>;

const logsSummarySchema = z.looseObject({ complete: z.boolean(), gaps: count });
const resultRefSchema = z.looseObject({ name: z.string(), size: count, digest: z.string().optional() });
export type ResultRef = z.infer<typeof resultRefSchema>;

/** How a run ended; `result` (any JSON ≤ 4 KiB) or `resultRef`. */
export const outcomeSchema = z.looseObject({
  state: z.enum(FINAL_STATES),
  exitCode: z.number().int().optional(),
  result: z.json().optional(),
  resultRef: resultRefSchema.optional(),
  diagnosis: diagnosisSchema.optional(),
  logs: logsSummarySchema.optional(),
});
export type Outcome = z.infer<typeof outcomeSchema>;

// --- state

/** What a run that is ready to start waits for, before anything of it exists in Kubernetes. @see core/admission-order.ts */
export const gateSchema = z.looseObject({
  /** As the worker saw it that put the run back: the queue is paused, the queue is long, all slots of its key are taken. */
  why: z.enum(['paused', 'turn', 'key']),
  since: instant,
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** How often it was let go and found its gate shut after all. */
  tries: count.optional(),
});
export type Gate = z.infer<typeof gateSchema>;

/** What a waiting run waits for. All times absolute, broker time. @see spec protocol §7 */
export const awaitSchema = z.looseObject({
  /** The pod's base container has ended, or the pod has. */
  terminal: z.boolean().optional(),
  /** The pod is gone from the API. */
  gone: z.boolean().optional(),
  notBefore: instant.optional(),
  /** When the pod was asked for: the time that starting may take counts from its scheduling, told by the pod's own times from here. */
  from: instant.optional(),
  scheduleBy: instant.optional(),
  startBy: instant.optional(),
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  loggingEveryMs: z.number().int().min(1).optional(),
  gate: gateSchema.optional(),
});
export type Await = z.infer<typeof awaitSchema>;

export const PHASES = [
  'Queued',
  'Starting',
  'Deferred',
  'Resuming',
  'Succeeded',
  'Failed',
  'Skipped',
  'Cancelled',
] as const;
export type Phase = (typeof PHASES)[number];

/** The un-acked message that owns the step. @see spec protocol §3 */
export const fenceSchema = z.looseObject({ stream: z.string(), seq: count, epoch: count, by: z.string() });
export type Fence = z.infer<typeof fenceSchema>;

const logCursorSchema = z
  .string()
  .regex(/^\d+:\d+$/)
  .describe('<epoch nanoseconds>:<lines at that nanosecond>');

/** A run's one value. @see spec protocol §3 */
export const runStateSchema = z.looseObject({
  v: version,
  phase: z.enum(PHASES),
  queue: z.string().regex(QUEUE_PATTERN),
  operator: z.string(),
  attempt: z.number().int().min(1),
  step: count,
  userFailures: count,
  infraFailures: count,
  /** Pods that were replaced because they did not start in time. */
  stuckStarts: count.optional(),
  faults: count,
  /** How often the owning message was put back on purpose: its deliveries less these are crashes. */
  naks: count.optional(),
  fence: fenceSchema,
  op: z.string(),
  cancel: z.looseObject({ at: instant, reason: z.string().optional() }).optional(),
  await: awaitSchema.optional(),
  pod: podRefSchema.optional(),
  /** The step whose deferral was the first to know the attempt's pod: what `launched` is said with. */
  launchStep: count.optional(),
  /** Why the start of this attempt was put off (quota, throttling, API down); gone once its pod is there. */
  blocked: diagnosisSchema.optional(),
  /** Why the run is being stopped; set with the DELETE, read when the pod is gone. */
  stopping: z
    .looseObject({
      state: z.enum(FINAL_STATES),
      diagnosis: diagnosisSchema.optional(),
      exitCode: z.number().int().optional(),
      retry: z.boolean().optional(),
    })
    .optional(),
  /** Trace context of the run's intake: the parent of all its later spans. */
  trace: z.string().optional(),
  /** From the request; what a start is judged by without reading that. */
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** When the attempt's execution time is over; fixed when its pod is created. */
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  /** Copy of each container's log cursor, so that eviction of the log stream loses nothing. */
  cursors: z.record(z.string(), logCursorSchema).optional(),
  logGaps: count.optional(),
  outcome: outcomeSchema.optional(),
  timings: timingsSchema,
  parentRunId: z.string().optional(),
  requestHash: z.string(),
  /** The operator's own few facts between two steps (≤ 1 KiB). */
  memo: z.record(z.string(), z.json()).optional(),
});
export type RunState = z.infer<typeof runStateSchema>;

// --- steps

/** What a fired subscription says. `n` counts firings of the same subscription. */
export const triggerEventSchema = z.looseObject({
  kind: z.enum(['success', 'failed', 'timeout', 'error', 'running', 'gone', 'timer']),
  /** `EXPIRED`, `EXECUTION_TIMEOUT`, `SCHEDULE_TIMEOUT`, `STARTUP_TIMEOUT`, `NOT_WATCHED`, … */
  reason: z.string().optional(),
  message: z.string().optional(),
  /** The last projection seen; absent when no pod was ever seen. */
  pod: podProjectionSchema.optional(),
  /** When the pod's change was seen by the triggerer. */
  at: instant,
});
export type TriggerEvent = z.infer<typeof triggerEventSchema>;

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

/** A wait, in KV `subs`, ≤ 512 B. @see spec protocol §7 */
export const subscriptionSchema = z.looseObject({
  v: version,
  queue: z.string(),
  attempt: z.number().int().min(1),
  step: count,
  stateRev: count,
  pod: podRefSchema.optional(),
  await: awaitSchema,
  then: z.enum(['resume', 'start']),
});
export type Subscription = z.infer<typeof subscriptionSchema>;

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

// --- questions between roles

/** Which run a question or a nudge is about. */
export const runRefSchema = z.looseObject({ tenant: z.string(), runId: z.string() });
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
/** A role's process that is alive. */
export const rolePresenceSchema = z.looseObject({
  role: z.string(),
  id: z.string(),
  version: z.string(),
  queues: z.array(z.string()).optional(),
  clockOffsetMs: z.number().optional(),
  watchAgeMs: z.number().optional(),
  problems: z.array(z.string()).default([]),
});
export type RolePresence = z.infer<typeof rolePresenceSchema>;

// --- what clients hear

/** `data` of `completed`. @see design §3 */
export const completedDataSchema = z.looseObject({
  tenant: z.string(),
  runId: z.string(),
  state: z.enum(FINAL_STATES),
  attempt: z.number().int(),
  parentRunId: z.string().optional(),
  exitCode: z.number().int().optional(),
  result: z.json().optional(),
  resultRef: resultRefSchema.optional(),
  diagnosis: diagnosisSchema.optional(),
  logs: logsSummarySchema.optional(),
  pod: podRefSchema.extend({ node: z.string().optional() }).optional(),
  timings: z.record(z.string(), z.iso.datetime()),
});
export type CompletedData = z.infer<typeof completedDataSchema>;

/** `data` of the other lifecycle events. */
export const lifecycleDataSchema = z.looseObject({
  tenant: z.string(),
  runId: z.string(),
  attempt: z.number().int(),
  step: count,
  pod: podRefSchema.optional(),
  at: z.iso.datetime(),
  why: z.string().optional(),
  diagnosis: diagnosisSchema.optional(),
  notBefore: z.iso.datetime().optional(),
});
export type LifecycleData = z.infer<typeof lifecycleDataSchema>;

// --- ownership (core messages and KV `own`)

export const claimSchema = z.looseObject({ owner: z.string(), epoch: count });
export type Claim = z.infer<typeof claimSchema>;

// --- services: requests and replies

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
