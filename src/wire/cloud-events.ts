/** CloudEvents 1.0, structured JSON. @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md */
import { z } from 'zod';
import { completedDataSchema, lifecycleDataSchema } from './messages.ts';
import type { CompletedData, LifecycleData } from './messages.ts';
import { EVENT_TYPES } from './subjects.ts';
import type { EventType, RunKey } from './subjects.ts';

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
