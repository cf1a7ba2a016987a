import { NEVER } from 'rxjs';
import { onTestFinished } from 'vitest';
import { RETRY_POLICY } from '../../src/core/run/retry.ts';
import { accepted, deferred, taken } from '../../src/core/run/state-changes.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import { Progress } from '../../src/worker/progress.ts';
import type { Engine } from '../../src/worker/protocol/engine.ts';
import { LiveFollows } from '../../src/worker/live-logs.ts';
import { BlockingRuns } from '../../src/worker/protocol/blocking.ts';
import { KnownRequests } from '../../src/worker/protocol/known-requests.ts';
import { NO_TRACER } from '../../src/worker/protocol/tracing.ts';
import { anInstallation } from './nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from './simulated-pods.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';

/** The run that `store` stores a state of, and its pod. */
export const run = { tenant: 't', runId: 'r1' };
export const pod = { connection: 'sim', namespace: 'sim', name: 'p', uid: 'u' };

/** The engine that parts of a worker need, on a new installation, with initial states. Nothing runs by itself. */
export async function anEngine(servers: string, id = 'w1') {
  const installation = await anInstallation(servers, { workerQueues: ['default'] });
  onTestFinished(() => installation[Symbol.asyncDispose]());
  const broker = await installation.broker();
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const engine: Engine = {
    broker,
    clusters: { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() },
    operators: new Map([['pod', scriptedOperator(simulated)]]),
    foreign: new Map(),
    queues: ['default'],
    foreignQueues: [],
    id,
    installation: 'test',
    namespaces: undefined,
    progress: new Progress(),
    policy: RETRY_POLICY,
    concurrencyLimits: {},
    known: new KnownRequests(),
    tracer: NO_TRACER,
    blocking: new BlockingRuns('test', NEVER, NEVER),
    follows: new LiveFollows({
      ...{ live: broker.live, runs: broker.runs, id, log: SILENT_LOG },
      meter: { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined },
      follow: () => Promise.resolve(),
    }),
    log: SILENT_LOG,
    meter: { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined },
  };
  const fence = { stream: 'RUNS', seq: 1, epoch: 1, by: 'gone' };
  const queued = accepted({ operator: 'pod' }, { queue: 'default', fence, requestHash: 'h', now: broker.now() });
  const starting = taken(queued, 'Starting', { stream: 'STEPS', seq: 1, by: 'gone' });
  const waiting = deferred(starting, { pod, await: { terminal: true } }, { now: broker.now() });
  const store = async (state: RunState) => {
    await broker.requests.claim(run, { operator: 'pod', params: {} });
    const outcome = await broker.runs.write(run, { ...state, op: 'test' }, 0);
    if (outcome.kind !== 'written') throw new Error('not stored');
    return outcome.revision;
  };
  return { engine, broker, installation, simulated, queued, waiting, store };
}
