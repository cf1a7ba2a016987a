/**
 * Every way in which a pod run ends, each deferred and blocking, all at once on one installation of real processes: the result, the stored
 * log, and that nothing is left.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { installationSelector } from '../../src/core/pod/labels.ts';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { type Client, connect } from '../../src/client/index.ts';
import type { PodParamsInput } from '../../src/operator/pod-params.ts';
import type { CompletedData } from '../../src/wire/events.ts';
import type { RunRequestInput } from '../../src/wire/run-request.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';

/** What a row may do to its pod while it runs. */
interface Hands {
  readonly target: ClusterUnderTest;
  readonly pod: PodProjection;
}
/** The outcome of a row. */
interface Ran {
  readonly done: CompletedData;
  readonly lines: readonly string[];
  readonly long: LongLog | undefined;
  readonly result: unknown;
}
/** A log too long to be held in memory here. */
interface LongLog {
  readonly lines: number;
  readonly last: number;
  /** The first lines that do not follow the one before: repeated, out of order, or after one that is not there. */
  readonly wrong: readonly string[];
}
/** One way to end. */
interface Row {
  readonly name: string;
  readonly params: PodParamsInput;
  readonly request?: Partial<RunRequestInput>;
  readonly expected: object;
  readonly meddle?: (hands: Hands) => Promise<unknown>;
  readonly log?: (lines: readonly string[]) => void;
  /** A long log: its lines begin with their number, from 1 to this; each must be stored once, on a node that still has them. */
  readonly numbered?: number;
  /** What `client.result` gives. */
  readonly result?: (result: unknown) => void;
  /** Only on this cluster; the reason stands beside the row. */
  readonly only?: 'local' | 'real';
  /** Only deferred: it takes long, and how the run waits makes no difference. */
  readonly once?: true;
}

const sh = (script: string, more: PodParamsInput = {}): PodParamsInput => ({
  cmds: ['sh', '-c'],
  arguments: [script],
  ...more,
});
const failed = (code: string, more: object = {}): object => ({ state: 'failed', diagnosis: { code }, ...more });
/** Waits only in its first attempt. */
const FIRST_WAITS = 'if [ {{ try_number }} = 1 ]; then sleep 300; fi; echo second';

/** 100 MB in lines of 64 bytes. */
const LONG_LINES = 1_562_500;

const ROWS: readonly Row[] = [
  {
    name: 'success',
    params: sh('echo one; echo two'),
    expected: { state: 'succeeded', exitCode: 0, attempt: 1, logs: { complete: true, gaps: 0 } },
    log: (lines) => {
      expect(lines).toEqual(['one', 'two']);
    },
  },
  {
    name: 'exit 1',
    params: sh('echo why >&2; exit 1'),
    expected: failed('CONTAINER_FAILED', { exitCode: 1 }),
    log: (lines) => {
      expect(lines).toEqual(['why']);
    },
  },
  {
    name: 'exit 1, repeated by policy',
    params: sh('echo {{ try_number }}; test {{ try_number }} = 2'),
    request: { retries: 1, retryDelaySeconds: 0.1 },
    expected: { state: 'succeeded', attempt: 2 },
    log: (lines) => {
      expect(lines).toEqual(['1', '2']);
    },
  },
  { name: 'skip code', params: sh('exit 77', { skipOnExitCode: [77] }), expected: { state: 'skipped', exitCode: 77 } },
  {
    name: 'killed',
    params: sh('sh -c "kill -9 \\$$$$"; exit $?'),
    expected: failed('CONTAINER_FAILED', { exitCode: 137 }),
  },
  // The local cluster limits no memory.
  {
    name: 'out of memory',
    only: 'real',
    params: sh('head -c 200m /dev/zero | tail', { containerResources: { limits: { memory: '24Mi' } } }),
    expected: failed('OOM_KILLED'),
  },
  {
    name: 'evicted',
    params: sh(FIRST_WAITS),
    expected: { state: 'succeeded', attempt: 2 },
    meddle: ({ target, pod }) => evict(target, pod),
  },
  {
    name: 'deleted by hand',
    params: sh(FIRST_WAITS),
    expected: { state: 'succeeded', attempt: 2 },
    meddle: ({ target, pod }) => target.cluster.deletePod(pod, 0),
  },
  {
    name: 'never scheduled',
    params: sh('true', { nodeSelector: { nowhere: 'at-all' }, scheduleTimeoutSeconds: 2 }),
    expected: failed('SCHEDULE_TIMEOUT'),
  },
  { name: 'bad image', params: { image: 'missing/image:1' }, expected: failed('IMAGE_PULL_FAILED') },
  { name: 'no image name', params: { image: 'Not An Image' }, expected: failed('INVALID_IMAGE_NAME') },
  { name: 'bad command', params: { cmds: ['/no/such/program'] }, expected: failed('CONTAINER_CANNOT_RUN') },
  {
    name: 'init failure',
    params: sh('echo never', {
      initContainers: [{ name: 'prepare', image: 'alpine', command: ['sh', '-c', 'echo preparing; exit 7'] }],
      initContainerLogs: true,
    }),
    expected: failed('INIT_CONTAINER_FAILED'),
    log: (lines) => {
      expect(lines).toEqual(['preparing']);
    },
  },
  {
    name: 'lingering sidecar',
    params: sh('echo done', {
      fullPodSpec: {
        spec: { containers: [{ name: 'base' }, { name: 'proxy', image: 'alpine', command: ['sleep', '300'] }] },
      },
    }),
    expected: { state: 'succeeded', exitCode: 0 },
  },
  {
    name: 'deadline of the pod',
    params: sh('sleep 300', { activeDeadlineSeconds: 1 }),
    expected: failed('DEADLINE_EXCEEDED'),
  },
  {
    name: 'execution time-out',
    params: sh('sleep 300'),
    request: { executionTimeoutSeconds: 2 },
    expected: failed('EXECUTION_TIMEOUT'),
  },
  {
    name: 'binary and broken UTF-8',
    params: sh(String.raw`printf 'a\377\376b\nnul\000here\n\303\nlast\n'`),
    expected: { state: 'succeeded', logs: { complete: true, gaps: 0 } },
    log: (lines) => {
      expect(lines).toHaveLength(4);
      expect(lines[3]).toBe('last');
      expect(lines[0]).toMatch(/^a.+b$/);
    },
  },
  {
    name: 'empty result',
    params: sh('true', { doXcomPush: true }),
    expected: { state: 'succeeded', diagnosis: { code: 'RESULT_INVALID' } },
  },
  {
    name: 'invalid result',
    params: sh('printf "{not json" > /dev/termination-log', { doXcomPush: true, xcomMode: 'message' }),
    expected: { state: 'succeeded', diagnosis: { code: 'RESULT_INVALID' } },
  },
  {
    name: 'a result of a megabyte',
    params: sh(`{ printf '"'; head -c 999998 /dev/zero | tr '\\0' x; printf '"'; } > /airflow/xcom/return.json`, {
      doXcomPush: true,
    }),
    expected: { state: 'succeeded', resultRef: { size: 1_000_000 } },
    result: (result) => {
      expect(result).toHaveLength(999_998);
      expect(result === 'x'.repeat(999_998)).toBe(true);
    },
  },
  {
    name: '100 MB of log',
    params: sh(
      `awk 'BEGIN { for (n = 1; n <= ${String(LONG_LINES)}; n++) printf "%07d of a log whose lines have sixty-four bytes, newline and all.\\n", n }'`,
    ),
    expected: { state: 'succeeded', exitCode: 0 },
    numbered: LONG_LINES,
    once: true,
  },
  {
    name: 'small result',
    params: sh('printf "{\\"n\\": 1}" > /dev/termination-log', { doXcomPush: true, xcomMode: 'message' }),
    expected: { state: 'succeeded', result: { n: 1 } },
  },
];

async function evict(target: ClusterUnderTest, { namespace, name }: PodProjection): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`;
  const eviction = {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name, namespace },
    deleteOptions: { gracePeriodSeconds: 0 },
  };
  const { status, body } = await target.raw('POST', path, eviction);
  if (status !== 201) throw new Error(`not evicted: ${JSON.stringify(body)}`);
}

describe.each(TARGETS)('on $name', ({ name: targetName, start }) => {
  const isReal = targetName !== 'the local cluster';
  let target: ClusterUnderTest;
  let installation: RunningInstallation;
  let client: Client;
  beforeAll(async () => {
    // A node returns what it has not rotated of a log: here all of the longest.
    target = await start({ logMaxBytes: 256 * 1024 * 1024 });
    installation = await startInstallation(target, { workers: 1, triggerers: 1 });
    client = await connect({ servers: installation.nats.url });
  });
  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await installation[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  });

  async function ran(row: Row, deferrable: boolean): Promise<Ran> {
    const params = z.record(z.string(), z.json()).parse({
      image: 'alpine',
      namespace: installation.namespace,
      terminationGracePeriod: 1,
      deferrable,
      ...(isReal ? { nodeSelector: { 'node.reentry.dev/kind': 'real' } } : {}),
      ...row.params,
    });
    const { runId } = await client.submit({ params, ...row.request });
    if (row.meddle !== undefined) await row.meddle({ target, pod: await runningPod(runId) });
    const done = await client.waitFor(runId, { timeoutMs: 120_000 });
    const lines: string[] = [];
    if (row.log !== undefined) for await (const { text } of client.logs(runId)) lines.push(text);
    const long = row.numbered === undefined || isReal ? undefined : await longLog(runId);
    return { done, lines, long, result: row.result === undefined ? undefined : await client.result(runId) };
  }

  async function longLog(runId: string): Promise<LongLog> {
    const wrong: string[] = [];
    let [lines, last] = [0, 0];
    for await (const { text } of client.logs(runId)) {
      const number = Number(text.slice(0, 7));
      if (number !== last + 1 && wrong.length < 5) wrong.push(`${String(last)}, then ${text}`);
      [lines, last] = [lines + 1, number];
    }
    return { lines, last, wrong };
  }

  async function runningPod(runId: string): Promise<PodProjection> {
    let found: PodProjection | undefined;
    await expect
      .poll(
        async () => {
          const pods = await target.cluster.listPods(
            installation.namespace,
            installationSelector(installation.namespace),
          );
          found = pods.find((pod) => pod.runId === runId);
          return found?.phase;
        },
        { timeout: 60_000, interval: 100 },
      )
      .toBe('Running');
    if (found === undefined) throw new Error('there is a pod');
    return found;
  }

  const variants = (['deferred', 'blocking'] as const).flatMap((how) =>
    ROWS.filter(({ only }) => only === undefined || (only === 'real') === isReal)
      .filter(({ once }) => once === undefined || how === 'deferred')
      .map((row) => ({ ...row, how })),
  );
  // All at once: the tests below only check the outcome of each.
  const runs = new Map<string, Promise<Ran>>();
  beforeAll(() => {
    for (const row of variants) {
      const run = ran(row, row.how === 'deferred');
      run.catch(() => undefined);
      runs.set(`${row.name} ${row.how}`, run);
    }
  });
  test.each(variants)('$name, $how', async ({ name, how, expected, log, numbered, result }) => {
    const come = await runs.get(`${name} ${how}`);
    expect(come?.done, JSON.stringify(come?.done)).toMatchObject(expected);
    log?.(come?.lines ?? []);
    result?.(come?.result);
    if (numbered === undefined || isReal) return;
    expect(come?.done.logs).toEqual({ complete: true, gaps: 0 });
    expect(come?.long).toEqual({ lines: numbered, last: numbered, wrong: [] });
  });

  test('nothing is left', async () => {
    await expect
      .poll(
        async () =>
          (await target.cluster.listPods(installation.namespace, installationSelector(installation.namespace))).length,
        { timeout: 60_000, interval: 200 },
      )
      .toBe(0);
  });
});
