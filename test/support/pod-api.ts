import type { ServerResponse } from 'node:http';
import { isRecord, type JsonRecord, recordIn, textIn } from '../../src/core/json.ts';
import { KubernetesExecutor, type KubernetesExecutorOptions } from '../../src/airflow/kubernetes-executor.ts';
import type { KubernetesResults } from '../../src/airflow/records.ts';
import type { TaskKey } from '../../src/core/pod/executor-labels.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { type Asked, scriptedServer, type ScriptedServer } from './scripted-server.ts';

/** A response to one creation. Without a body: the created pod. */
export interface CreateReply {
  readonly status: number;
  readonly body?: string;
  readonly retryAfter?: string;
  /** The connection is cut instead. */
  readonly cut?: boolean;
}

/** The pods API of a scripted server, for failures that a real one does not produce on demand. Watches stay open without events until `sendEvent`. */
export interface PodApi extends AsyncDisposable {
  readonly server: ScriptedServer;
  readonly cluster: Cluster;
  /** Responses to the next creations; after them, every creation succeeds. */
  readonly replies: CreateReply[];
  /** Statuses of the next deletions and of the next patches; after them, 200. */
  readonly deletions: number[];
  readonly patches: number[];
  /** The pods that a list returns. */
  items: readonly JsonRecord[];
  /** Whether creations wait for `release`. */
  hold: boolean;
  release(): void;
  /** The largest number of creations that waited at the same time. */
  readonly mostHeld: number;
  asked(method: string): readonly Asked[];
  sendEvent(type: string, object: JsonRecord): void;
  executor(options?: Partial<KubernetesExecutorOptions>): KubernetesExecutor;
}

/** Starts the server. */
export async function podApi(): Promise<PodApi> {
  const replies: CreateReply[] = [];
  const deletions: number[] = [];
  const patches: number[] = [];
  const watches = new Set<ServerResponse>();
  const held: (() => void)[] = [];
  const executors: KubernetesExecutor[] = [];
  let uids = 0;
  const state: { items: readonly JsonRecord[]; hold: boolean; mostHeld: number } = {
    items: [],
    hold: false,
    mostHeld: 0,
  };
  const made = (pod: unknown): JsonRecord => {
    uids += 1;
    return {
      ...(isRecord(pod) ? pod : {}),
      metadata: { ...recordIn(pod, 'metadata'), uid: `uid-${uids}`, resourceVersion: '1' },
    };
  };
  const json = (
    response: ServerResponse,
    status: number,
    body: unknown,
    headers: Record<string, string> = {},
  ): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  const create = ({ body }: Asked, response: ServerResponse): void => {
    const reply = replies.shift();
    const answer = (): void => {
      if (reply?.cut === true) response.destroy();
      else if (reply === undefined || reply.status < 300) json(response, 201, made(body));
      else
        response
          .writeHead(reply.status, reply.retryAfter === undefined ? {} : { 'retry-after': reply.retryAfter })
          .end(reply.body ?? '');
    };
    if (!state.hold) {
      answer();
      return;
    }
    held.push(answer);
    state.mostHeld = Math.max(state.mostHeld, held.length);
  };
  const server = await scriptedServer((asked, response) => {
    if (asked.method === 'POST') create(asked, response);
    else if (asked.method === 'DELETE')
      json(response, deletions.shift() ?? 200, { kind: 'Status', message: 'scripted' });
    else if (asked.method === 'PATCH') json(response, patches.shift() ?? 200, made(asked.body));
    else if (asked.query.get('watch') === 'true') {
      watches.add(response);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(
        `${JSON.stringify({
          type: 'BOOKMARK',
          object: { metadata: { resourceVersion: '1', annotations: { 'k8s.io/initial-events-end': 'true' } } },
        })}\n`,
      );
      response.on('close', () => watches.delete(response));
    } else if (asked.path.endsWith('/pods'))
      json(response, 200, { metadata: { resourceVersion: '1' }, items: state.items });
    else json(response, 404, { kind: 'Status', code: 404, reason: 'NotFound', message: 'no such pod' });
  });
  const cluster = await server.cluster({ backoffMs: [1, 5] });
  return {
    server,
    cluster,
    replies,
    deletions,
    patches,
    get items() {
      return state.items;
    },
    set items(items) {
      state.items = items;
    },
    get hold() {
      return state.hold;
    },
    set hold(hold) {
      state.hold = hold;
    },
    get mostHeld() {
      return state.mostHeld;
    },
    release() {
      for (const answer of held.splice(0)) answer();
    },
    asked: (method) => server.asked.filter((one) => one.method === method && one.query.get('watch') !== 'true'),
    sendEvent(type, object) {
      for (const response of watches) response.write(`${JSON.stringify({ type, object })}\n`);
    },
    executor(options = {}) {
      const executor = new KubernetesExecutor({ cluster, jobId: '5', commandRule: 'any', ...options });
      executors.push(executor);
      executor.start();
      return executor;
    },
    async [Symbol.asyncDispose]() {
      for (const answer of held.splice(0)) answer();
      await Promise.all(executors.map((executor) => executor.end()));
      await server[Symbol.asyncDispose]();
    },
  };
}

let tasks = 0;

/** A task key that no other test uses. */
export function aKey(fields: Partial<TaskKey> = {}): TaskKey {
  tasks += 1;
  return { dagId: 'dag', taskId: `task-${tasks}`, runId: 'run', tryNumber: 1, mapIndex: -1, ...fields };
}

/** A result of the pod that `executor` launched last for `key`, or, with `fields`, of another one. */
export function aResult(
  executor: KubernetesExecutor,
  key: TaskKey,
  fields: Partial<KubernetesResults>,
): KubernetesResults {
  const pod = executor.launchedPods.get(
    JSON.stringify([key.dagId, key.taskId, key.runId, key.tryNumber, key.mapIndex]),
  );
  return {
    key,
    state: null,
    podName: pod?.podName ?? 'pod',
    namespace: pod?.namespace ?? 'default',
    ...(pod === undefined ? {} : { podUid: pod.podUid }),
    resourceVersion: '42',
    failureDetails: undefined,
    ...fields,
  };
}

/** Name of the pod in a creation. */
export const createdName = ({ body }: Asked): string => textIn(recordIn(body, 'metadata'), 'name') ?? '';
