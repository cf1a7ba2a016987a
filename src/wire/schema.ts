/** JSON Schemas and an AsyncAPI document of all messages of clients, generated from the schemas that the service reads with. */
import { z } from 'zod';
import { completedEventSchema, lifecycleEventSchema } from './events.ts';
import { runRequestSchema } from './run-request.ts';
import {
  cancelRequestSchema,
  listRequestSchema,
  logsRequestSchema,
  renderRequestSchema,
  retryRequestSchema,
  resultRequestSchema,
  runQuerySchema,
  serviceReplySchema,
  submitRequestSchema,
} from './services.ts';
import { VERBS } from './subjects.ts';
import type { Verb } from './subjects.ts';

const SERVICE_REQUESTS = {
  submit: submitRequestSchema,
  retry: retryRequestSchema,
  status: runQuerySchema,
  list: listRequestSchema,
  cancel: cancelRequestSchema,
  logs: logsRequestSchema,
  result: resultRequestSchema,
  explain: runQuerySchema,
  render: renderRequestSchema,
} as const satisfies Record<Verb, z.ZodType>;

/** Messages of clients, by name. Inputs are described as they may be written: fields with a default are optional. */
const MESSAGES = {
  runRequest: { title: 'Run request', schema: runRequestSchema, io: 'input' },
  completedEvent: { title: 'Lifecycle event `completed`', schema: completedEventSchema, io: 'output' },
  lifecycleEvent: { title: 'Any other lifecycle event', schema: lifecycleEventSchema, io: 'output' },
  serviceReply: { title: 'Reply of a service', schema: serviceReplySchema, io: 'output' },
} as const;

const jsonSchema = (schema: z.ZodType, io: 'input' | 'output') =>
  z.toJSONSchema(schema, { target: 'draft-2020-12', io, unrepresentable: 'any' });

/** JSON Schema (draft 2020-12) of a run request. With `params`, the schema of the operator's parameters is part of it. */
export function requestSchema(params?: { readonly pod: z.ZodType; readonly command: z.ZodType }) {
  const title = 'reentry run request';
  if (params === undefined) return { title, ...jsonSchema(runRequestSchema, 'input') };
  const pod = runRequestSchema.extend({ operator: z.literal('pod').default('pod'), params: params.pod.optional() });
  const command = runRequestSchema.extend({ operator: z.literal('command'), params: params.command });
  return { title, ...jsonSchema(z.union([pod, command]), 'input') };
}

/** JSON Schemas of all messages by name, those of the services as `<verb>Request`. */
export function messageSchemas(): Readonly<Record<string, object>> {
  const named = Object.entries(MESSAGES).map(
    ([name, { title, schema, io }]) => [name, { title, ...jsonSchema(schema, io) }] as const,
  );
  const services = VERBS.map(
    (verb) =>
      [
        `${verb}Request`,
        { title: `Request of service ${verb}`, ...jsonSchema(SERVICE_REQUESTS[verb], 'input') },
      ] as const,
  );
  return Object.fromEntries([...named, ...services]);
}

/** A schema embedded in a document: its references start at the document's root. */
function embedded(schema: unknown, at: string): unknown {
  if (Array.isArray(schema)) return schema.map((part: unknown) => embedded(part, at));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]: [string, unknown]) => [
      key,
      key === '$ref' && typeof value === 'string' ? value.replace(/^#/, `#/${at}`) : embedded(value, at),
    ]),
  );
}

const parameter = (description: string) => ({ description });
const PARAMETERS = {
  queue: parameter('Which workers run it: 1 to 32 of `[A-Za-z0-9_-]`.'),
  tenant: parameter('Owner of runs. `[A-Za-z0-9_-]` stay as they are, every other UTF-8 byte is `=HH`.'),
  runId: parameter('Idempotency key of the run, encoded like the tenant.'),
  type: parameter('accepted, launched, deferred, resumed, retrying or completed.'),
  attempt: parameter('Number of the attempt, from 1.'),
  container: parameter('Name of the container, encoded like the tenant.'),
} as const;
type Parameter = keyof typeof PARAMETERS;

const channel = (address: string, names: readonly Parameter[], messages: readonly string[]) => ({
  address,
  parameters: Object.fromEntries(names.map((name) => [name, PARAMETERS[name]])),
  messages: Object.fromEntries(messages.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
});

/**
 * An AsyncAPI 3.0 document of the subjects that clients use.
 * @see https://www.asyncapi.com/docs/reference/specification/v3.0.0
 */
export function asyncApi(root: string, version: string) {
  const schemas = messageSchemas();
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'reentry',
      version,
      description: 'Runs Kubernetes pods as durable, deferrable tasks over NATS.',
      license: { name: 'Apache-2.0' },
    },
    defaultContentType: 'application/json',
    channels: {
      run: channel(`${root}.run.{queue}.{tenant}.{runId}`, ['queue', 'tenant', 'runId'], ['runRequest']),
      events: channel(
        `${root}.ev.{tenant}.{runId}.{type}`,
        ['tenant', 'runId', 'type'],
        ['completedEvent', 'lifecycleEvent'],
      ),
      logs: channel(
        `${root}.log.{tenant}.{runId}.{attempt}.{container}`,
        ['tenant', 'runId', 'attempt', 'container'],
        ['logChunk'],
      ),
      ...Object.fromEntries<object>(
        VERBS.flatMap((verb): [string, object][] => [
          [verb, channel(`${root}.svc.{tenant}.${verb}`, ['tenant'], [`${verb}Request`])],
          [
            `${verb}Reply`,
            { address: null, messages: { serviceReply: { $ref: '#/components/messages/serviceReply' } } },
          ],
        ]),
      ),
    },
    operations: {
      requestRun: { action: 'send', channel: { $ref: '#/channels/run' } },
      receiveEvents: { action: 'receive', channel: { $ref: '#/channels/events' } },
      receiveLogs: { action: 'receive', channel: { $ref: '#/channels/logs' } },
      ...Object.fromEntries(
        VERBS.map((verb) => [
          verb,
          {
            action: 'send',
            channel: { $ref: `#/channels/${verb}` },
            reply: { channel: { $ref: `#/channels/${verb}Reply` } },
          },
        ]),
      ),
    },
    components: {
      messages: {
        ...Object.fromEntries(
          Object.keys(schemas).map((name) => [
            name,
            {
              name,
              contentType: name.endsWith('Event') ? 'application/cloudevents+json' : 'application/json',
              payload: { $ref: `#/components/schemas/${name}` },
            },
          ]),
        ),
        logChunk: {
          name: 'logChunk',
          title: 'Log chunk',
          summary: 'Whole lines, each `<RFC 3339 time with nanoseconds> <text>`.',
          contentType: 'text/plain',
          payload: { type: 'string' },
        },
      },
      schemas: Object.fromEntries(
        Object.entries(schemas).map(([name, schema]) => [name, embedded(schema, `components/schemas/${name}`)]),
      ),
    },
  } as const;
}
