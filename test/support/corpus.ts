import { readdirSync, readFileSync } from 'node:fs';
import type { z } from 'zod';
import { cloudEventSchema } from '../../src/wire/events.ts';
import { executorHeartbeatSchema, heartbeatSchema, claimSchema } from '../../src/wire/presence.ts';
import { queueRecordSchema, concurrencySlotsSchema } from '../../src/wire/queues.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { runStateSchema } from '../../src/wire/run-state.ts';
import {
  cancelRequestSchema,
  listRequestSchema,
  logsRequestSchema,
  renderRequestSchema,
  serviceReplySchema,
  submitRequestSchema,
} from '../../src/wire/services.ts';
import { ctlMessageSchema, resumeMessageSchema, startMessageSchema } from '../../src/wire/steps.ts';
import { subscriptionSchema } from '../../src/wire/triggers.ts';

/** Every kind of message and stored value, by the first part of its examples' names. Those of clients are strict. */
export const CORPUS_SCHEMAS = {
  'run-request': { schema: runRequestSchema, strict: true },
  'submit-request': { schema: submitRequestSchema, strict: true },
  'list-request': { schema: listRequestSchema, strict: true },
  'cancel-request': { schema: cancelRequestSchema, strict: true },
  'logs-request': { schema: logsRequestSchema, strict: true },
  'render-request': { schema: renderRequestSchema, strict: true },
  start: { schema: startMessageSchema, strict: false },
  resume: { schema: resumeMessageSchema, strict: false },
  ctl: { schema: ctlMessageSchema, strict: false },
  subscription: { schema: subscriptionSchema, strict: false },
  queue: { schema: queueRecordSchema, strict: false },
  'concurrency-slots': { schema: concurrencySlotsSchema, strict: false },
  heartbeat: { schema: heartbeatSchema, strict: false },
  'executor-heartbeat': { schema: executorHeartbeatSchema, strict: false },
  claim: { schema: claimSchema, strict: false },
  state: { schema: runStateSchema, strict: false },
  event: { schema: cloudEventSchema, strict: false },
  reply: { schema: serviceReplySchema, strict: false },
} as const satisfies Readonly<Record<string, { readonly schema: z.ZodType; readonly strict: boolean }>>;

export interface Recorded {
  /** `v1/state.queued` */
  readonly name: string;
  readonly kind: keyof typeof CORPUS_SCHEMAS;
  readonly json: unknown;
}

const isKind = (text: string): text is Recorded['kind'] => Object.hasOwn(CORPUS_SCHEMAS, text);

/** The recorded messages of all versions. An example is never changed once its version was released: a new version gets a new folder. */
export function corpus(): readonly Recorded[] {
  const root = new URL('../corpus/', import.meta.url);
  return readdirSync(root).flatMap((version) =>
    readdirSync(new URL(`${version}/`, root)).map((file): Recorded => {
      const kind = file.split('.')[0] ?? '';
      if (!isKind(kind)) throw new Error(`${version}/${file} has an unknown kind`);
      const json: unknown = JSON.parse(readFileSync(new URL(`${version}/${file}`, root), 'utf8'));
      return { name: `${version}/${file.replace(/\.json$/, '')}`, kind, json };
    }),
  );
}
