import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, fetch, type Response } from 'undici';
import { startLocalCluster, type LocalCluster, type LocalClusterOptions } from '../../src/local/cluster.ts';
import { z } from 'zod';
import { Faults } from '../support/local-faults.ts';

const state = z.looseObject({
  waiting: z.looseObject({ reason: z.string() }).optional(),
  running: z.looseObject({}).optional(),
  terminated: z
    .looseObject({
      exitCode: z.number(),
      reason: z.string(),
      message: z.string().optional(),
      startedAt: z.string(),
      finishedAt: z.string(),
    })
    .optional(),
});
const containerStatus = z.looseObject({
  name: z.string(),
  state,
  lastState: state,
  ready: z.boolean(),
  restartCount: z.number(),
});

/** The parts of any object that the tests read. */
export const objectSchema = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string().default(''),
    uid: z.string().default(''),
    resourceVersion: z.string().default(''),
    continue: z.string().optional(),
    deletionTimestamp: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  items: z.array(z.looseObject({ metadata: z.looseObject({ name: z.string() }) })).optional(),
  code: z.number().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  details: z
    .looseObject({ causes: z.array(z.looseObject({ field: z.string(), reason: z.string() })).optional() })
    .optional(),
});

const podSchema = objectSchema.extend({
  status: z.looseObject({
    phase: z.string(),
    reason: z.string().optional(),
    conditions: z
      .array(z.looseObject({ type: z.string(), status: z.string(), reason: z.string().optional() }))
      .default([]),
    initContainerStatuses: z.array(containerStatus).default([]),
    containerStatuses: z.array(containerStatus).default([]),
  }),
});
/** The parts of a pod that the tests read. */
export type PodObject = z.output<typeof podSchema>;

const eventSchema = z.object({ type: z.string(), object: objectSchema });
/** One event of a watch. */
export type WatchEvent = z.output<typeof eventSchema>;

/** A cluster in a new directory, gone at the end, and a client for it. */
export interface Testbed extends AsyncDisposable {
  readonly cluster: LocalCluster;
  readonly faults: Faults;
  readonly directory: string;
  /** Connects to the cluster. */
  readonly dispatcher: Agent;
  request(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** The answer as an object, whatever its code. */
  object(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<z.output<typeof objectSchema>>;
  /** Creates a pod of one container that runs `script`. */
  run(
    name: string,
    script: string,
    more?: Readonly<Record<string, unknown>>,
    metadata?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
  pod(name: string): Promise<PodObject>;
  log(name: string, query?: string): Promise<string>;
  /** Opens a watch; `next` returns one event, undefined at the end of the stream. */
  watch(query: string): Promise<{ readonly next: () => Promise<WatchEvent | undefined>; readonly close: () => void }>;
}

/** Where pods of the default namespace are. */
export const PODS = '/api/v1/namespaces/default/pods';

/** A pod of one container that runs `script`. */
export function podOf(
  name: string,
  script: string,
  more: Readonly<Record<string, unknown>> = {},
  metadata: Readonly<Record<string, unknown>> = {},
) {
  const containers = [{ name: 'main', image: 'busybox', command: ['sh', '-c', script] }];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...metadata },
    spec: { restartPolicy: 'Never', containers, ...more },
  };
}

/** Starts a cluster for a test. */
export async function startTestbed(options: Partial<LocalClusterOptions> = {}): Promise<Testbed> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-local-'));
  const faults = new Faults();
  const cluster = await startLocalCluster({ directory, interference: faults.attach, ...options });
  const dispatcher = new Agent({ connect: { ca: cluster.ca } });
  const request: Testbed['request'] = (method, path, body, headers = {}) =>
    fetch(cluster.url + path, {
      dispatcher,
      method,
      headers: { authorization: `Bearer ${cluster.token}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  const object: Testbed['object'] = async (...args) => objectSchema.parse(await (await request(...args)).json());
  return {
    ...{ cluster, faults, directory, dispatcher, request, object },
    async run(name, script, more, metadata) {
      const created = await request('POST', PODS, podOf(name, script, more, metadata));
      if (created.status !== 201) throw new Error(await created.text());
    },
    async pod(name) {
      return podSchema.parse(await (await request('GET', `${PODS}/${name}`)).json());
    },
    async log(name, query = '') {
      return await (await request('GET', `${PODS}/${name}/log?${query}`)).text();
    },
    async watch(query) {
      const ended = new AbortController();
      const response = await fetch(`${cluster.url}${PODS}?watch=1&${query}`, {
        dispatcher,
        headers: { authorization: `Bearer ${cluster.token}` },
        signal: ended.signal,
      });
      const lines = linesOf(response);
      return {
        next: async () => {
          const { value, done } = await lines.next();
          return done === true ? undefined : eventSchema.parse(JSON.parse(value));
        },
        close: () => {
          ended.abort();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await dispatcher.destroy();
      await cluster[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function* linesOf(response: Response): AsyncGenerator<string, undefined> {
  let rest = '';
  for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') throw new Error(`cut line: ${rest}`);
}
