import { Subject, lastValueFrom, merge } from 'rxjs';
import type { Observable } from 'rxjs';
import { RETRY_POLICY } from '../../src/core/run/retry.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import { worker } from '../../src/roles/worker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { openBroker } from '../../src/nats/broker.ts';
import { storedRequestSchema } from '../../src/wire/run-request.ts';
import type { RunRequestInput } from '../../src/wire/run-request.ts';
import { consumers } from '../../src/wire/streams.ts';
import { LANES } from '../../src/wire/subjects.ts';
import { faultyBroker } from './faulty-broker.ts';
import type { FaultyBroker, Injected, Odds } from './faulty-broker.ts';
import { levelTriggers } from './level-triggers.ts';
import { aNatsServer, setUp } from './nats-server.ts';
import { SimulatedPods, scriptedOperator } from './simulated-pods.ts';
import { DEFAULTS } from './defaults.ts';

/** Size of a simulation, and its faults. */
export interface SimulationSettings {
  readonly runs: number;
  readonly workers: number;
  readonly odds: Odds;
  /** Share of runs that are cancelled at a random moment. */
  readonly cancels: number;
  /** Share of requests published a second time, outside the window of message ids; half of them with another body. */
  readonly duplicateRequests: number;
  /** How often the server is killed and started again. */
  readonly serverKills: number;
  readonly seed: number;
  readonly deadlineMs: number;
}

/** The injected faults, and the outcome of the runs. */
export interface SimulationReport {
  readonly runs: number;
  readonly injected: Injected;
  readonly cancels: number;
  readonly serverKills: number;
  readonly podsCreated: number;
  readonly eventsFired: number;
  readonly states: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** Runs whose number of `completed` events is not one. */
  readonly notOnce: readonly string[];
  /** Runs that the second request under their id was made of. */
  readonly secondWon: readonly string[];
  /** Attempts whose pod was created more than once. */
  readonly podsTwice: readonly string[];
  /** Runs with the same concurrency key whose pods lived at the same time. */
  readonly keyShared: readonly string[];
  /** Concurrency slots that were not released. */
  readonly slotsLeft: readonly string[];
  readonly podsLeft: readonly string[];
  readonly subscriptionsLeft: readonly string[];
  readonly messagesLeft: number;
  /** Errors that workers logged as faults. */
  readonly errors: readonly string[];
}

/** A small random generator, so that a seed determines a simulation. @see https://github.com/bryc/code/blob/master/jshash/PRNGs.md mulberry32 */
function mulberry32(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Concurrency keys for so many runs: one run per key goes at a time, so with too few keys every run waits for the delays of earlier crashes. */
const keysOf = (runs: number) => Array.from({ length: Math.max(3, Math.ceil(runs / 100)) }, (_, n) => `key-${n}`);

/** Redelivery after this long instead of 10 s, so that a crash costs little time; still above the heartbeat of `working()`. */
const ACK_WAIT_SECONDS = 4;
const STALL_MS = 5_000;

const until = async (deadline: number, condition: () => Promise<boolean>): Promise<void> => {
  while (performance.now() < deadline) {
    if (await condition().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
};

/** Runs on a real server, with workers that crash, stall and repeat writes. */
export async function simulate(settings: SimulationSettings): Promise<SimulationReport> {
  const begunAt = performance.now();
  const deadline = begunAt + settings.deadlineMs;
  const random = mulberry32(settings.seed);
  await using server = await aNatsServer();
  const options = { servers: server.url, root: 'sim.v1', assetPrefix: 'SIM_' };
  await setUp(options, { workerQueues: ['default'] });
  const layout = layoutFrom(options);
  await using connection = await connectNats({ ...options, role: 'setup', name: 'simulation', waitForServer: true });
  const jsm = await connection.nc.jetstreamManager();
  const nanos = ACK_WAIT_SECONDS * 1e9;
  await jsm.consumers.update(layout.assets.runs, consumers.intake('default'), { ack_wait: nanos });
  for (const lane of LANES)
    await jsm.consumers.update(layout.assets.steps, consumers.step(lane, 'default'), { ack_wait: nanos });

  const errors: string[] = [];
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (fields, message) => errors.push(`${message} ${JSON.stringify(fields)}`),
    child: () => log,
  };
  const meter: Meter = { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined };
  const simulated = new SimulatedPods();
  const clusters = {
    names: ['sim'],
    get: () => {
      throw new Error('the simulation has no cluster');
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  await using open = new AsyncDisposableStack();
  const stop$ = new Subject<void>();
  const lines: FaultyBroker[] = [];
  const works: Observable<never>[] = [];
  for (let n = 0; n < settings.workers; n += 1) {
    const broker = open.use(await openBroker({ ...options, role: 'worker', name: `worker-${n}`, waitForServer: true }));
    const line = faultyBroker(broker, settings.odds, STALL_MS, random);
    lines.push(line);
    const operators = [scriptedOperator(simulated, (write) => line.around(write))];
    const retryPolicy = { ...RETRY_POLICY, infrastructureBaseMs: 100, infrastructureMaxMs: 500 };
    works.push(
      worker({
        broker: line.broker,
        clusters,
        operators,
        settings: { ...DEFAULTS.engine, id: `worker-${n}`, queues: ['default'], installation: 'sim', retryPolicy },
        log,
        meter,
      })(stop$),
    );
  }
  const work = lastValueFrom(merge(...works), { defaultValue: undefined });
  work.catch((error: unknown) => errors.push(String(error)));
  const outside = open.use(await openBroker({ ...options, role: 'worker', name: 'outside', waitForServer: true }));
  using first = levelTriggers(outside, simulated, { everyMs: 40, refireMs: 3_000 });
  using second = levelTriggers(outside, simulated, { everyMs: 70, refireMs: 5_000 });

  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const ids = Array.from({ length: settings.runs }, (_, n) => `run-${n}`);
  const keys = keysOf(settings.runs);
  const asked = new Map<string, RunRequestInput>();
  let cancels = 0;
  const client = async (runId: string) => {
    const run = { tenant: 'sim', runId };
    await pause(random() * settings.runs * 20);
    const first: RunRequestInput = { ...requestOf(random, keys), annotations: { body: 'first' } };
    asked.set(runId, first);
    const publish = (request: RunRequestInput, id: string) =>
      outside.publish.run(run, 'default', new TextEncoder().encode(JSON.stringify(request)), id);
    await publish(first, `run:${runId}`);
    if (random() < settings.duplicateRequests) {
      // At once, so that both are taken in together, or later.
      if (random() < 0.5) await pause(random() * 1_000);
      const other: RunRequestInput = { ...requestOf(random, keys), annotations: { body: 'second' } };
      await publish(random() < 0.5 ? first : other, `run:${runId}:again`);
    }
    if (random() < settings.cancels) {
      await pause(random() * 2_000);
      cancels += 1;
      await outside.publish.ctl(run, 'default', { v: 1, kind: 'cancel' }, `cancel:${runId}`);
    }
  };
  const killing = (async () => {
    for (let n = 0; n < settings.serverKills; n += 1) {
      await pause(2_000 + random() * 4_000);
      await server.crash();
    }
  })();
  await Promise.all([...ids.map(client), killing]);

  const states: Record<string, number> = {};
  const terminal = new Set(['Succeeded', 'Failed', 'Skipped', 'Cancelled']);
  const count = async () => {
    for (const key of Object.keys(states)) Reflect.deleteProperty(states, key);
    for (const runId of ids) {
      const seen = await outside.runs.read({ tenant: 'sim', runId });
      const phase = seen?.value.phase ?? 'none';
      states[phase] = (states[phase] ?? 0) + 1;
    }
  };
  const pending = async () => {
    const infos = [await jsm.streams.info(layout.assets.runs), await jsm.streams.info(layout.assets.steps)];
    return infos.reduce((sum, { state }) => sum + state.messages, 0);
  };
  await until(deadline, async () => {
    await count();
    return Object.keys(states).every((phase) => terminal.has(phase));
  });
  for (const line of lines) line.stopFaults();
  await until(deadline, async () => (await pending()) === 0 && first.waiting() === 0 && second.waiting() === 0);
  await until(Math.min(deadline, performance.now() + 2_000), () =>
    Promise.resolve(simulated.alive(outside.now()).length === 0),
  );
  await count();

  const notOnce: string[] = [];
  const info = await jsm.streams.info(layout.assets.events, { subjects_filter: 'sim.v1.ev.sim.*.completed' });
  for (const runId of ids) {
    const times = info.state.subjects?.[`sim.v1.ev.sim.${runId}.completed`] ?? 0;
    if (times !== 1) notOnce.push(`${runId}: ${times}`);
  }
  const secondWon: string[] = [];
  for (const [runId, first] of asked) {
    const run = { tenant: 'sim', runId };
    const refused = (await outside.runs.read(run))?.value.outcome?.diagnosis?.code === 'INVALID_REQUEST';
    const stored = await outside.requests.read(run);
    const made = storedRequestSchema.safeParse(stored).data?.annotations['body'];
    if (refused !== isNonsense(first) || (stored !== undefined && made !== 'first'))
      secondWon.push(`${runId}: ${JSON.stringify({ first, refused, stored })}`);
  }
  const messagesLeft = await pending();
  const subscriptionsLeft: string[] = [];
  for (const runId of ids) {
    const left = await outside.subscriptions.read({ tenant: 'sim', runId });
    if (left !== undefined) subscriptionsLeft.push(`${runId} ${JSON.stringify(left.value)}`);
  }
  if (first.waiting() + second.waiting() > 0)
    subscriptionsLeft.push(`seen by triggers: ${first.waiting()}, ${second.waiting()}`);
  const slotsLeft: string[] = [];
  for (const key of keys) {
    const left = await outside.gates.concurrencySlots('sim', key);
    if (left !== undefined) slotsLeft.push(`${key} ${JSON.stringify(left.value)}`);
  }
  const podsLeft: string[] = [];
  for (const { name, runId = '' } of simulated.alive(outside.now())) {
    const seen = await outside.runs.read({ tenant: 'sim', runId }, { leader: true });
    podsLeft.push(`${name} ${JSON.stringify(seen?.value)}`);
  }
  stop$.next();
  await work;
  const sum = (of: keyof Injected) => lines.reduce((total, { injected }) => total + injected[of], 0);
  return {
    runs: settings.runs,
    injected: { writes: sum('writes'), crashes: sum('crashes'), stalls: sum('stalls'), duplicates: sum('duplicates') },
    cancels,
    serverKills: settings.serverKills,
    podsCreated: [...simulated.creations.values()].reduce((total, n) => total + n, 0),
    eventsFired: first.fired() + second.fired(),
    states,
    seconds: Math.round((performance.now() - begunAt) / 100) / 10,
    notOnce,
    secondWon,
    podsTwice: [...simulated.creations].filter(([, times]) => times > 1).map(([key]) => key),
    keyShared: simulated.keyShared,
    slotsLeft,
    podsLeft,
    subscriptionsLeft,
    messagesLeft,
    errors,
  };
}

const isNonsense = ({ params }: RunRequestInput) => 'nonsense' in (params ?? {});

/** A mixture of all kinds of runs. */
function requestOf(random: () => number, keys: readonly string[]): RunRequestInput {
  const kind = random();
  const runMs = Math.round(50 + random() * 800);
  const params = { runMs, goneMs: Math.round(random() * 400) };
  const concurrencyKey = keys[Math.floor(random() * keys.length)];
  if (kind < 0.1) return { params, concurrencyKey };
  if (kind < 0.15) return { params: { ...params, exits: [1, 0] }, retries: 1, retryDelaySeconds: 0.1, concurrencyKey };
  if (kind < 0.4) return { params };
  if (kind < 0.5) return { params: { ...params, loggingEveryMs: 100 } };
  if (kind < 0.6) return { params: { ...params, exits: [1, 0] }, retries: 1, retryDelaySeconds: 0.1 };
  if (kind < 0.7) return { params: { ...params, evicted: [1, 2] } };
  if (kind < 0.75) return { params: { ...params, exits: [3] } };
  if (kind < 0.85)
    return { params: { ...params, exits: [null, 0] }, executionTimeoutSeconds: 0.5, retries: 1, retryDelaySeconds: 0 };
  if (kind < 0.9) return { params: { ...params, refusals: 2 } };
  if (kind < 0.95) return { params, expireSeconds: 60 };
  return { params: { nonsense: true } };
}
