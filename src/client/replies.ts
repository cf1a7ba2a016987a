/** Replies of the services, as far as this client relies on them. More fields may come. */
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { diagnosisSchema, outcomeSchema } from '../wire/outcome.ts';
import { queuePositionSchema } from '../wire/queues.ts';
import { PRIORITIES } from '../wire/run-request.ts';
import { PHASES } from '../wire/run-state.ts';
import type { ServiceReply } from '../wire/services.ts';

const instant = z.number();

/** A run in the replies of `status` and `list`. @see wire/services.ts RunSummary */
export const runSummarySchema = z.looseObject({
  tenant: z.string(),
  runId: z.string(),
  phase: z.enum(PHASES),
  queue: z.string(),
  operator: z.string(),
  attempt: z.number(),
  step: z.number(),
  parentRunId: z.string().optional(),
  waitingFor: z.string().optional(),
  blocked: diagnosisSchema.optional(),
  pod: z.looseObject({ connection: z.string(), namespace: z.string(), name: z.string(), uid: z.string() }).optional(),
  outcome: outcomeSchema.optional(),
  lastOutcome: outcomeSchema.optional(),
  timings: z.record(z.string(), instant.optional()),
  cancelRequested: z.boolean().optional(),
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  queuePosition: queuePositionSchema.optional(),
});
/** A run in the replies of `status` and `list`. */
export type RunStatus = z.infer<typeof runSummarySchema>;

export const listReplySchema = z.looseObject({ runs: z.array(runSummarySchema), next: z.number().nullish() });
/** One page of `list`. `next`: the `after` of the next page; `undefined` on the last one. */
export interface RunPage {
  readonly runs: readonly RunStatus[];
  readonly next: number | undefined;
}

export const logsReplySchema = z.looseObject({
  chunks: z.array(
    z.looseObject({ sequence: z.number(), attempt: z.number(), container: z.string(), text: z.string() }),
  ),
  next: z.number().nullish(),
  /** Whether people should see which container wrote each line. */
  containerNames: z.boolean().optional(),
});

export const cancelReplySchema = z.looseObject({ phase: z.enum(PHASES).optional() });
export const submitReplySchema = z.looseObject({
  runId: z.string().optional(),
  queue: z.string().optional(),
  duplicate: z.boolean().optional(),
});
export const resultReplySchema = z.union([
  z.looseObject({
    data: z.base64(),
    next: z.number().int().optional(),
    size: z.number().int(),
    resultRef: z.looseObject({ digest: z.string().optional() }),
  }),
  z.looseObject({ result: z.json() }),
]);
export const explainReplySchema = runSummarySchema.extend({
  stopping: z.looseObject({ diagnosis: diagnosisSchema.optional() }).optional(),
  userFailures: z.number().optional(),
  infraFailures: z.number().optional(),
  faults: z.number().optional(),
  events: z.array(z.looseObject({ type: z.string(), reason: z.string(), message: z.string() })).default([]),
});
/** A run in the reply of `explain`: status, counters, Kubernetes events of its pod. The cause is `outcome.diagnosis`, or `stopping.diagnosis` while it ends. */
export type Explanation = z.infer<typeof explainReplySchema>;

/** Known error codes of replies. Any other becomes INTERNAL. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  INVALID_REQUEST: 'INVALID_REQUEST',
  NOT_FOUND: 'NOT_FOUND',
  RUN_ID_TAKEN: 'RUN_ID_TAKEN',
  BUSY: 'BUSY',
  TOO_LARGE: 'TOO_LARGE',
  FORBIDDEN: 'FORBIDDEN',
  UNREACHABLE: 'UNREACHABLE',
  TIMEOUT: 'TIMEOUT',
  STREAM_FULL: 'STREAM_FULL',
  NATS_UNAVAILABLE: 'NATS_UNAVAILABLE',
  KUBERNETES: 'KUBERNETES',
  CONFIG_INVALID: 'CONFIG_INVALID',
};
const TRANSIENT: readonly ErrorCode[] = [
  'BUSY',
  'UNREACHABLE',
  'TIMEOUT',
  'STREAM_FULL',
  'NATS_UNAVAILABLE',
  'KUBERNETES',
];

/** The value of a reply. @throws ReentryError with the worker's code, message and problems; INTERNAL for an unexpected reply */
export function replyValue<T>(reply: ServiceReply, schema: z.ZodType<T>): T {
  if ('error' in reply) {
    const { code, message, problems } = reply.error;
    const known = CODES[code] ?? 'INTERNAL';
    throw new ReentryError(known, message, { transient: TRANSIENT.includes(known), problems: problems ?? [] });
  }
  const parsed = schema.safeParse(reply.ok);
  if (parsed.success) return parsed.data;
  throw new ReentryError('INTERNAL', `unexpected reply from the worker: ${z.prettifyError(parsed.error)}`, {
    transient: false,
    cause: parsed.error,
  });
}
