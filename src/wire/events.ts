/** Lifecycle events as CloudEvents 1.0, structured JSON. @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md */
import { count } from './fields.ts';
import { diagnosisSchema, FINAL_STATES, logsSummarySchema, resultRefSchema } from './outcome.ts';
import { podRefSchema } from './pods.ts';
import { EVENT_TYPES } from './subjects.ts';
import type { RunKey, EventType } from './subjects.ts';
import { z } from 'zod';

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

/** Media type of an event's message. */
export const CLOUD_EVENT_CONTENT_TYPE = 'application/cloudevents+json';

const cloudEventType = (type: EventType) => `dev.reentry.run.${type}.v1`;

const envelope = {
  specversion: z.literal('1.0'),
  id: z.string().min(1).describe('<tenant>/<runId>/<step>/<type>, the same when it is delivered twice'),
  source: z.string().min(1).describe('reentry/<tenant>, percent-encoded'),
  subject: z.string().min(1).describe('the run id'),
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

/** An event's stable id. */
export function eventId({ tenant, runId }: RunKey, step: number, type: EventType): string {
  return `${tenant}/${runId}/${String(step)}/${type}`;
}

/** An event as it is published. `atMs`: epoch milliseconds. */
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
