import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Subject, type Subscription as Running } from 'rxjs';
import { afterAll, beforeAll, expect, suite, test } from 'vitest';
import { z } from 'zod';
import { ANNOTATIONS, LABELS } from '../../src/core/pod/labels.ts';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { SHARD_COUNT } from '../../src/core/identity.ts';
import { startNatsServer, type NatsServer, findNatsServer } from '../../src/local/nats-server.ts';
import { openBroker } from '../../src/nats/broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { setup } from '../../src/nats/setup.ts';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { Broker } from '../../src/ports/broker.ts';
import type { Clusters } from '../../src/ports/cluster.ts';
import { type Triggerer, triggerer } from '../../src/roles/triggerer.ts';
import { resumeMessageSchema } from '../../src/wire/steps.ts';
import type { ResumeMessage } from '../../src/wire/steps.ts';
import { heartbeatSchema } from '../../src/wire/presence.ts';
import { aSubscription } from '../support/builders.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';
import { runReentry } from '../support/processes.ts';
import { DEFAULTS } from '../support/defaults.ts';

const statusSchema = z.object({
  triggerers: z.array(heartbeatSchema),
  unowned: z.array(z.string()),
  contested: z.array(z.string()),
});
const nothing = (): void => undefined;
const LOG: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => LOG };
const METER: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };
const WITHIN = { timeout: 20_000, interval: 20 };

/** A triggerer of its own connection, as a process would have it. */
interface Replica {
  readonly id: string;
  readonly work$: Triggerer;
  readonly broker: Broker;
  readonly stop$: Subject<void>;
  running: Running;
  isDone: boolean;
  error: unknown;
}

suite('triggerer on a real broker and a Kubernetes API', () => {
  let directory: string;
  let server: NatsServer;
  let kubernetes: ClusterUnderTest;
  let namespace: string;
  let broker: Broker;
  let clusters: Clusters;
  const installation = freshName('inst');
  const replicas: Replica[] = [];
  const resumed: { readonly runId: string; readonly message: ResumeMessage; readonly at: number }[] = [];
  const stopTaking$ = new Subject<void>();
  let taking: Running;

  const open = (name: string): Promise<Broker> =>
    openBroker({ servers: server.url, name, role: 'worker', waitForServer: true });

  const start = async (id: string): Promise<Replica> => {
    const own = await open(id);
    const work$ = triggerer({
      broker: own,
      clusters,
      settings: { id, installation, namespaces: [namespace], defaultQueue: 'default', minLoggingEveryMs: 1_000 },
      log: LOG,
      meter: METER,
    });
    const stop$ = new Subject<void>();
    const replica: Replica = {
      id,
      work$,
      broker: own,
      stop$,
      running: new Subject().subscribe(),
      isDone: false,
      error: undefined,
    };
    replica.running = work$(stop$).subscribe({
      complete: () => {
        replica.isDone = true;
      },
      error: (error: unknown) => {
        replica.error = error;
      },
    });
    replicas.push(replica);
    return replica;
  };
  const shardsOf = (one: Replica): number => one.work$.health().shards.length;

  /** A pod of our installation as a worker makes it, and the subscription to its end. */
  const launch = async (runId: string, options: Parameters<ClusterUnderTest['pod']>[0]): Promise<PodProjection> => {
    const pod = kubernetes.pod({ ...options, labels: { [LABELS.installation]: installation } });
    const metadata = pod['metadata'];
    const annotations =
      typeof metadata === 'object' && metadata !== null && 'annotations' in metadata ? metadata.annotations : {};
    const made = await clusters.get('test').createPod(namespace, {
      ...pod,
      metadata: {
        ...(typeof metadata === 'object' ? metadata : {}),
        annotations: { ...(annotations ?? {}), [ANNOTATIONS.tenant]: 'default', [ANNOTATIONS.runId]: runId },
      },
    });
    return clusters.get('test').project(made.pod);
  };
  const wait = async (runId: string, pod: PodProjection, loggingEveryMs?: number): Promise<void> => {
    const { connection, name, uid } = pod;
    const facts = {
      pod: { connection, namespace, name, uid },
      await: { terminal: true, ...(loggingEveryMs === undefined ? {} : { loggingEveryMs }) },
    };
    await broker.subscriptions.put({ tenant: 'default', runId }, aSubscription(facts));
  };
  const eventsOf = (runId: string): readonly string[] =>
    resumed.filter((one) => one.runId === runId).map(({ message }) => message.event.kind);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'reentry-triggerer-'));
    const { program } = await findNatsServer({
      explicitPath: process.env['REENTRY_NATS_SERVER'],
      path: process.env['PATH'],
      cacheDirectory: join(process.env['HOME'] ?? directory, '.cache', 'reentry'),
    });
    server = await startNatsServer({ program, directory });
    const admin = await connectNats({ servers: server.url, name: 'setup', role: 'setup' });
    await setup(admin.nc, layoutFrom({}), DEFAULTS.streams);
    await admin[Symbol.asyncDispose]();
    const target = TARGETS.at(-1);
    if (target === undefined) throw new Error('no Kubernetes to test on');
    kubernetes = await target.start();
    namespace = await kubernetes.namespace();
    clusters = openClusters({ connections: { test: { kubeconfig: kubernetes.kubeconfig } } });
    broker = await open('worker');
    taking = broker.queues
      .steps$(
        'default',
        'resume',
        64,
        async (delivery) => {
          const message = resumeMessageSchema.parse(JSON.parse(new TextDecoder().decode(delivery.data)));
          resumed.push({ runId: delivery.runIdToken, message, at: Date.now() });
          await delivery.ack();
        },
        stopTaking$,
      )
      .subscribe();
  });
  afterAll(async () => {
    for (const one of replicas) {
      one.stop$.next();
      one.running.unsubscribe();
      await one.broker[Symbol.asyncDispose]();
    }
    taking.unsubscribe();
    await broker[Symbol.asyncDispose]();
    await clusters[Symbol.asyncDispose]();
    await kubernetes[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  test("a pod's end resumes its run once, with the final projection", async () => {
    const one = await start('t1');
    await expect.poll(() => shardsOf(one), WITHIN).toBe(SHARD_COUNT);
    await expect.poll(() => one.work$.health().ready, WITHIN).toBe(true);
    const pod = await launch('ends', { runForSeconds: 1, exitCode: 3 });
    await wait('ends', pod);
    await expect.poll(() => eventsOf('ends'), WITHIN).toEqual(['failed']);
    const event = resumed.find(({ runId }) => runId === 'ends')?.message.event;
    expect(event?.pod?.uid).toBe(pod.uid);
    expect(event?.pod?.containers[0]?.exitCode).toBe(3);
  });

  test('a second replica takes over its share, and no event is published twice', async () => {
    const two = await start('t2');
    const [one] = replicas;
    await expect.poll(() => shardsOf(two), WITHIN).toBeGreaterThan(80);
    await expect.poll(() => shardsOf(two) + (one === undefined ? 0 : shardsOf(one)), WITHIN).toBe(SHARD_COUNT);
    const runs = Array.from({ length: 20 }, (_, n) => `pair${n}`);
    await Promise.all(
      runs.map(async (runId) => {
        await wait(runId, await launch(runId, { runForSeconds: 1 }));
      }),
    );
    await expect.poll(() => runs.map((runId) => eventsOf(runId)), WITHIN).toEqual(runs.map(() => ['success']));
  });

  test('`status --triggerers` shows the owner of each shard, and how old each watch is', async () => {
    const { code, stdout } = await runReentry(['status', '--triggerers', '--json'], { REENTRY_NATS_URL: server.url });
    const status = statusSchema.parse(JSON.parse(stdout));
    expect(status.triggerers.map(({ replica }) => replica)).toEqual(['t1', 't2']);
    expect(status.triggerers.reduce((sum, { shards }) => sum + shards, 0)).toBe(SHARD_COUNT);
    expect(status).toMatchObject({ unowned: [], contested: [] });
    for (const { watches, problems } of status.triggerers) {
      expect(problems).toEqual([]);
      expect(watches).toEqual([{ connection: 'test', namespace, pods: expect.any(Number), ageMs: expect.any(Number) }]);
    }
    expect(code).toBe(0);
    const forPeople = await runReentry(['status', '--triggerers'], { REENTRY_NATS_URL: server.url });
    expect(forPeople.stdout).toMatch(/t1 {2}healthy, \d+ shards, \d+ runs wait/);
  });

  test('the logging interval fires once per step', async () => {
    const pod = await launch('logs', { runForSeconds: 3_600 });
    await wait('logs', pod, 1_000);
    await expect.poll(() => eventsOf('logs'), WITHIN).toEqual(['running']);
    await clusters.get('test').deletePod(pod, 0);
    await expect.poll(() => eventsOf('logs'), WITHIN).toHaveLength(2);
    expect(eventsOf('logs')[1]).toMatch(/^(gone|failed)$/);
  });

  test('a graceful stop hands over within a second and ends; pods that end meanwhile are fired', async () => {
    const two = replicas[1]!;
    const one = replicas[0]!;
    const pods = await Promise.all(
      Array.from({ length: 10 }, async (_, n) => {
        const runId = `handover${n}`;
        await wait(runId, await launch(runId, { runForSeconds: 1 }));
        return runId;
      }),
    );
    two.stop$.next();
    await expect.poll(() => two.isDone, { timeout: 1_000, interval: 10 }).toBe(true);
    await expect.poll(() => shardsOf(one), WITHIN).toBe(SHARD_COUNT);
    await expect.poll(() => pods.map((runId) => eventsOf(runId)), WITHIN).toEqual(pods.map(() => ['success']));
    expect(two.error).toBeUndefined();
  });

  test('a replica that falls silent is replaced, and its runs are resumed', async () => {
    const three = await start('t3');
    const [one] = replicas;
    await expect.poll(() => shardsOf(three), WITHIN).toBeGreaterThan(80);
    const runs = await Promise.all(
      Array.from({ length: 10 }, async (_, n) => {
        const runId = `silent${n}`;
        await wait(runId, await launch(runId, { runForSeconds: 1 }));
        return runId;
      }),
    );
    // As kill -9 does it: no goodbye.
    three.running.unsubscribe();
    await expect.poll(() => (one === undefined ? 0 : shardsOf(one)), WITHIN).toBe(SHARD_COUNT);
    await expect.poll(() => runs.map((runId) => eventsOf(runId)), WITHIN).toEqual(runs.map(() => ['success']));
  });

  test('continues after a restart of the killed broker', async () => {
    const [one] = replicas;
    const { port } = server;
    const { program } = await findNatsServer({
      explicitPath: process.env['REENTRY_NATS_SERVER'],
      path: process.env['PATH'],
      cacheDirectory: join(process.env['HOME'] ?? directory, '.cache', 'reentry'),
    });
    const pod = await launch('broker', { runForSeconds: 3 });
    await wait('broker', pod);
    await server.kill();
    await expect.poll(() => one?.work$.health().ready, WITHIN).toBe(false);
    server = await startNatsServer({ program, directory, port });
    await expect.poll(() => one?.work$.health().ready, WITHIN).toBe(true);
    await expect.poll(() => eventsOf('broker'), WITHIN).toEqual(['success']);
    expect(one?.error).toBeUndefined();
  });

  test('is not ready when only the subscriptions cannot be watched', async () => {
    const [one] = replicas;
    if (one === undefined) throw new Error('no replica runs');
    await expect.poll(() => one.work$.health().ready, WITHIN).toBe(true);
    await using admin = await connectNats({ servers: server.url, name: 'vandal', role: 'setup' });
    await (await admin.nc.jetstreamManager()).streams.delete(layoutFrom({}).assets.subscriptionBucket.stream);
    await expect
      .poll(() => one.work$.health().problems.join(), WITHIN)
      .toContain('has received nothing about subscriptions');
    expect(one.work$.health()).toMatchObject({ alive: true, ready: false, sees: false });
  });
});
