/** JSON Schema and AsyncAPI, generated from the schemas that check the messages. */
import { z } from 'zod';
import { completedEventSchema, lifecycleEventSchema } from '../wire/cloud-events.ts';
import { runRequestSchema, serviceReplySchema } from '../wire/messages.ts';
import { EVENT_TYPES, subjectsUnder, VERBS } from '../wire/subjects.ts';

/** The JSON Schema of a run request; `params` as operator `pod` takes them. */
export async function requestSchema(): Promise<unknown> {
  const { podParamsSchema } = await import('../operator/params.ts');
  const schema = z.toJSONSchema(runRequestSchema.extend({ params: podParamsSchema }), {
    io: 'input',
    unrepresentable: 'any',
  });
  return { $id: 'https://reentry.dev/schemas/v1/run-request.json', title: 'reentry run request', ...schema };
}

const json = (schema: z.ZodType, io: 'input' | 'output' = 'output') =>
  z.toJSONSchema(schema, { io, unrepresentable: 'any' });

/** An AsyncAPI 3 document of what a client sees. @see https://www.asyncapi.com/docs/reference/specification/v3.0.0 */
export function asyncApi(root: string, version: string) {
  const { run, event, log } = addresses(root);
  const text = { type: 'string' } as const;
  const parameters = (...names: readonly string[]) =>
    Object.fromEntries(
      names.map((name) => [name, { description: `${name}, encoded: every byte but A-Z a-z 0-9 _ - is =HH` }]),
    );
  const verbs = VERBS.map((verb) => [
    `svc-${verb}`,
    {
      address: `${root}.svc.{tenant}.${verb}`,
      parameters: parameters('tenant'),
      messages: { reply: { $ref: '#/components/messages/reply' } },
    },
  ]);
  const events = EVENT_TYPES.map((type) => [
    type,
    {
      address: `${event}.${type}`,
      parameters: parameters('tenant', 'runId'),
      messages: { [type]: { $ref: `#/components/messages/${type === 'completed' ? 'completed' : 'lifecycle'}` } },
    },
  ]);
  return {
    asyncapi: '3.0.0',
    info: { title: 'reentry', version, description: 'Kubernetes pods as durable, deferrable tasks over NATS' },
    defaultContentType: 'application/json',
    channels: {
      run: {
        address: run,
        parameters: parameters('queue', 'tenant', 'runId'),
        messages: { request: { $ref: '#/components/messages/request' } },
      },
      ...Object.fromEntries([...events, ...verbs]),
      log: {
        address: log,
        parameters: parameters('tenant', 'runId', 'attempt', 'container'),
        messages: { chunk: { contentType: 'text/plain', payload: text } },
      },
    },
    operations: {
      requestRun: { action: 'send', channel: { $ref: '#/channels/run' } },
      ...Object.fromEntries(
        EVENT_TYPES.map((type) => [`hear-${type}`, { action: 'receive', channel: { $ref: `#/channels/${type}` } }]),
      ),
      ...Object.fromEntries(
        VERBS.map((verb) => [`ask-${verb}`, { action: 'send', channel: { $ref: `#/channels/svc-${verb}` } }]),
      ),
    },
    components: {
      messages: {
        request: { payload: json(runRequestSchema, 'input') },
        completed: { contentType: 'application/cloudevents+json', payload: json(completedEventSchema) },
        lifecycle: { contentType: 'application/cloudevents+json', payload: json(lifecycleEventSchema) },
        reply: { payload: json(serviceReplySchema) },
      },
    },
  };
}

/** Addresses with their parameters in braces, from the one table of subjects. */
function addresses(root: string) {
  const subjects = subjectsUnder(root);
  // Words that need no encoding stand in for the parameters.
  const braces = (subject: string): string =>
    subject.replace(/\bP_(\w+?)(?=\.|$)/g, '{$1}').replace(/\.0\./, '.{attempt}.');
  const run = { tenant: 'P_tenant', runId: 'P_runId' };
  return {
    run: braces(subjects.run.of('P_queue', run)),
    event: braces(subjects.event.of(run, 'completed')).replace(/\.completed$/, ''),
    log: braces(subjects.log.of(run, 0, 'P_container')),
  };
}
