/** Lifecycle events as CloudEvents 1.0, structured JSON. @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md */
import { z } from 'zod';
import { count } from './fields.ts';
import { diagnosisSchema, FINAL_STATES, logsSummarySchema, resultRefSchema } from './outcome.ts';
import { podRefSchema } from './pods.ts';
import { EVENT_TYPES } from './subjects.ts';
import type { RunKey, EventType } from './subjects.ts';

/** `data` of a `completed` event. */
export const completedDataSchema = z.looseObject({
  tenant: z.string(),
  runId: z.string(),
  state: z.enum(FINAL_STATES),
  attempt: z.number().int().describe('Number of the last attempt, from 1.'),
  parentRunId: z.string().optional().describe('The run that this one repeats.'),
  exitCode: z.number().int().optional(),
  result: z.json().optional().describe('The result, where it has at most 4 KiB.'),
  resultRef: resultRefSchema.optional().describe('A larger result; fetch it with the service `result`.'),
  diagnosis: diagnosisSchema.optional().describe('Why it did not succeed.'),
  logs: logsSummarySchema.optional(),
  pod: podRefSchema.extend({ node: z.string().optional() }).optional(),
  timings: z.record(z.string(), z.iso.datetime()).describe('When each stage was passed.'),
});
export type CompletedData = z.infer<typeof completedDataSchema>;

/** `data` of any other lifecycle event. */
export const lifecycleDataSchema = z.looseObject({
  tenant: z.string(),
  runId: z.string(),
  attempt: z.number().int().describe('From 1.'),
  step: count.describe('Grows with each step of the run.'),
  pod: podRefSchema.optional(),
  at: z.iso.datetime(),
  why: z.string().optional().describe('Why it is deferred or retried.'),
  diagnosis: diagnosisSchema.optional(),
  notBefore: z.iso.datetime().optional().describe('When the next attempt may start.'),
});
export type LifecycleData = z.infer<typeof lifecycleDataSchema>;

/** Media type of an event's message. */
export const CLOUD_EVENT_CONTENT_TYPE = 'application/cloudevents+json';

const cloudEventType = (type: EventType) => `dev.reentry.run.${type}.v1`;

const envelope = {
  specversion: z.literal('1.0'),
  id: z.string().min(1).describe('`<tenant>/<runId>/<step>/<type>`; the same when the event is delivered twice.'),
  source: z.string().min(1).describe('`reentry/<tenant>`, percent-encoded.'),
  subject: z.string().min(1).describe('The run id.'),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
} as const;

/** A `completed` event. */
export const completedEventSchema = z.looseObject({
  ...envelope,
  type: z.literal(cloudEventType('completed')),
  data: completedDataSchema,
});

/** Any other lifecycle event. */
export const lifecycleEventSchema = z.looseObject({
  ...envelope,
  type: z.enum(EVENT_TYPES.filter((type) => type !== 'completed').map(cloudEventType)),
  data: lifecycleDataSchema,
});

/** Any event. */
export const cloudEventSchema = z.union([completedEventSchema, lifecycleEventSchema]);

/** Id of an event. */
export function eventId({ tenant, runId }: RunKey, step: number, type: EventType): string {
  return `${tenant}/${runId}/${String(step)}/${type}`;
}

/** An event, ready to be published. `atMs`: epoch milliseconds. */
export function cloudEvent(
  run: RunKey,
  type: EventType,
  step: number,
  data: CompletedData | LifecycleData,
  atMs: number,
) {
  return {
    specversion: '1.0',
    id: eventId(run, step, type),
    // A URI reference, by CloudEvents 1.0; a tenant is any text.
    source: `reentry/${encodeURIComponent(run.tenant)}`,
    type: cloudEventType(type),
    subject: run.runId,
    time: new Date(atMs).toISOString(),
    datacontenttype: 'application/json',
    data,
  } as const;
}

/** The lifecycle type of an event's CloudEvents `type`. */
export function eventTypeOf({ type }: { readonly type: string }): EventType | undefined {
  return EVENT_TYPES.find((known) => cloudEventType(known) === type);
}

/** The step inside an event's id. */
export function eventStepOf({ id }: { readonly id: string }): number {
  return Number(id.split('/').at(-2) ?? 0);
}
