import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { judge } from '../../src/core/pod/judge.ts';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import { podOperator } from '../../src/operator/define-operator.ts';
import type { StepContext } from '../../src/operator/operator.ts';
import { type PodParams, podParamsSchema, type PodParamsInput } from '../../src/operator/pod-params.ts';
import { extractXcom, extractXcomJson, extractXcomKill } from '../../src/operator/xcom.ts';
import type { Outcome } from '../../src/wire/outcome.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import type { TriggerEvent } from '../../src/wire/triggers.ts';
import { freshName } from '../support/kubernetes.ts';
import { operatorFixture } from '../support/operator-fixture.ts';
import { frame, POD, scriptedExec, SUCCESS } from '../support/scripted-exec.ts';
import { DEFAULTS } from '../support/defaults.ts';

const fixture = operatorFixture();
const log = pino({ level: 'silent' });
const operator = podOperator.with(DEFAULTS.pod);

const WAIT = { terminal: true } as const;

/** A run with a result, whose pod has been created. */
async function launched(script: string, more: PodParamsInput = {}): Promise<StepContext<PodParams>> {
  const params = podParamsSchema.parse({
    ...{
      image: 'alpine',
      namespace: fixture.namespace,
      cmds: ['sh', '-c', script],
      doXcomPush: true,
      terminationGracePeriod: 1,
    },
    ...more,
  });
  const state: RunState = {
    ...{ v: 1, phase: 'Starting', queue: 'default', operator: 'pod', op: 'o', timings: {}, requestHash: 'h' },
    ...{ attempt: 1, step: 0, userFailures: 0, infraFailures: 0, faults: 0 },
    fence: { stream: 'STEPS', seq: 1, epoch: 0, by: 'w' },
  };
  const context: StepContext<PodParams> = {
    ...{ run: { tenant: 'default', runId: freshName('run') }, installation: 'test', queue: 'default', params, state },
    ...{ request: runRequestSchema.parse({}), namespaces: undefined, log },
    now: () => fixture.broker.now(),
    cluster: () => fixture.kube.cluster,
    logs: fixture.broker.logs,
    results: fixture.broker.results,
    checkOwner: () => Promise.resolve({ cancelRequested: false }),
  };
  const outcome = await operator.execute(context);
  if (outcome.kind !== 'defer' || outcome.pod === undefined) throw new Error(JSON.stringify(outcome));
  return { ...context, state: { ...state, phase: 'Resuming', pod: { ...outcome.pod }, await: WAIT } };
}

async function podOf({ state }: StepContext<PodParams>): Promise<PodProjection> {
  const found = state.pod && (await fixture.kube.cluster.getPod(state.pod.namespace, state.pod.name));
  if (found === undefined) throw new Error('the pod is gone');
  return fixture.kube.cluster.project(found);
}

/** The event that a triggerer would publish, once the pod's state fires one. */
async function event(context: StepContext<PodParams>): Promise<TriggerEvent> {
  const { attempt, step, pod } = context.state;
  if (pod === undefined) throw new Error('the run has no pod');
  const waiting = {
    v: 1,
    queue: 'default',
    attempt,
    step,
    stateRev: 1,
    pod: { ...pod },
    await: WAIT,
    then: 'resume',
  } as const;
  for (;;) {
    const present = await fixture.kube.until(
      await podOf(context),
      (one) => judge(waiting, one, fixture.broker.now()).kind === 'fire',
    );
    const judgement = judge(waiting, present, fixture.broker.now());
    if (judgement.kind === 'fire') return judgement.event;
  }
}

async function reentered(context: StepContext<PodParams>): Promise<Outcome> {
  const outcome = await operator.triggerReentry(context, await event(context));
  if (outcome.kind !== 'over') throw new Error(JSON.stringify(outcome));
  return outcome.outcome;
}

const ended = async (script: string, more: PodParamsInput = {}): Promise<Outcome> =>
  reentered(await launched(script, more));
const write = (text: string): string => `printf '%s' '${text}' > ${XCOM.resultFile}`;
const execs = (): number => fixture.kube.cluster.requestCounts()['exec'] ?? 0;

describe('a result in the sidecar’s file', () => {
  test('is the run’s while the pod still runs; then the sidecar is ended', async () => {
    const context = await launched(write('{"rows": 7}\n'), { onFinishAction: 'keep_pod' });
    const expected = { state: 'succeeded', exitCode: 0, result: { rows: 7 } };
    const outcome = await reentered(context);
    expect(outcome).toMatchObject(expected);
    // A worker that repeats the step, because the first one crashed before it stored anything, reads the same.
    expect(await reentered(context)).toMatchObject(expected);
    await operator.cleanUp(context, outcome, await podOf(context));
    const left = await fixture.kube.until(await podOf(context), ({ phase }) => phase === 'Succeeded');
    expect(left.containers.map(({ name, exitCode }) => [name, exitCode])).toEqual([
      ['base', 0],
      [XCOM.container, 0],
    ]);
  });

  test('of a megabyte becomes an object, byte for byte', async () => {
    const script = `{ printf '["'; head -c 1000000 /dev/zero | tr '\\0' x; printf '"]'; } > ${XCOM.resultFile}`;
    const context = await launched(script);
    const outcome = await reentered(context);
    expect(outcome).toMatchObject({ state: 'succeeded', resultRef: { name: 'return_value', size: 1_000_004 } });
    const data = await fixture.broker.results.get(context.run, 1, 'return_value');
    expect(Buffer.from(data ?? []).toString()).toBe(`["${'x'.repeat(1_000_000)}"]`);
  });

  test('with a number too large for a double is stored as its text', async () => {
    const context = await launched(write('{"n": 1e400}'));
    const outcome = await reentered(context);
    expect(outcome).toMatchObject({ state: 'succeeded', resultRef: { name: 'return_value' } });
    const data = await fixture.broker.results.get(context.run, 1, 'return_value');
    expect(Buffer.from(data ?? []).toString()).toBe('{"n": 1e400}');
  });

  test('that is missing or empty leaves a success without result', async () => {
    for (const script of ['true', `: > ${XCOM.resultFile}`]) {
      const outcome = await ended(script);
      expect(outcome).toMatchObject({ state: 'succeeded', diagnosis: { code: 'RESULT_INVALID' } });
      expect(outcome.result).toBeUndefined();
    }
  });

  test('that is not JSON fails the run with the position of the problem', async () => {
    const outcome = await ended(write('{"a": 1,\n "b": oops}'));
    expect(outcome).toMatchObject({
      state: 'failed',
      exitCode: 0,
      diagnosis: { code: 'RESULT_INVALID', category: 'user' },
    });
    expect(outcome.diagnosis?.summary).toContain('invalid symbol at line 2, column 7 (offset 15)');
  });

  test('that is not UTF-8 fails the run', async () => {
    const outcome = await ended(`printf '"\\377"' > ${XCOM.resultFile}`);
    expect(outcome).toMatchObject({ state: 'failed', diagnosis: { code: 'RESULT_INVALID' } });
    expect(outcome.diagnosis?.summary).toContain('not UTF-8');
  });

  test('of a failed container is stored with the failure', async () => {
    const outcome = await ended(`${write('[1]')}; exit 3`);
    expect(outcome).toMatchObject({
      state: 'failed',
      exitCode: 3,
      result: [1],
      diagnosis: { code: 'CONTAINER_FAILED' },
    });
  });

  test('is not read when the termination message is JSON', async () => {
    const before = execs();
    const outcome = await ended(`${write('"file"')}; echo '"message"' > /dev/termination-log`);
    expect(outcome).toMatchObject({ state: 'succeeded', result: 'message' });
    // Its pod and the sidecar are about to be deleted.
    expect(execs()).toBe(before);
  });

  test('is read with xcomMode sidecar, regardless of the message', async () => {
    const script = `${write('"file"')}; echo '"message"' > /dev/termination-log`;
    expect(await ended(script, { xcomMode: 'sidecar' })).toMatchObject({ state: 'succeeded', result: 'file' });
  });

  test('is read when the message is no JSON', async () => {
    const outcome = await ended(`${write('"file"')}; echo done > /dev/termination-log`);
    expect(outcome).toMatchObject({ state: 'succeeded', result: 'file' });
  });

  test('needs no sidecar with xcomMode message', async () => {
    const context = await launched(`echo '{"n": 1}' > /dev/termination-log`, { xcomMode: 'message' });
    expect((await podOf(context)).containers.map(({ name }) => name)).toEqual(['base']);
    const before = execs();
    expect(await reentered(context)).toMatchObject({ state: 'succeeded', result: { n: 1 } });
    expect(execs()).toBe(before);
  });
});

describe('a sidecar', () => {
  test('that ended before its file was read fails the run', async () => {
    const context = await launched(`until [ -e ${XCOM.mountPath}/go ]; do sleep 0.05; done`);
    const running = await fixture.kube.until(await podOf(context), ({ containers }) =>
      containers.every(({ state }) => state === 'running'),
    );
    await extractXcomKill({ cluster: fixture.kube.cluster, pod: running });
    await fixture.kube.until(running, ({ containers }) => containers[1]?.state === 'terminated');
    await fixture.kube.cluster.exec(running, { container: 'base', command: ['touch', `${XCOM.mountPath}/go`] });
    const outcome = await reentered(context);
    expect(outcome).toMatchObject({ state: 'failed', exitCode: 0, diagnosis: { code: 'RESULT_UNREADABLE' } });
    expect(outcome.diagnosis?.summary).toContain('the result sidecar ended with 0 before its file was read');
  });

  test('without the permission for exec fails the run with that permission’s name', async () => {
    fixture.kube.faults?.order({ fault: 'deny', verb: 'create', resource: 'pods/exec' });
    const outcome = await ended(write('1'));
    fixture.kube.faults?.order({ fault: 'clear' });
    expect(outcome).toMatchObject({
      state: 'failed',
      diagnosis: { code: 'RESULT_UNREADABLE', category: 'infrastructure' },
    });
    expect(outcome.diagnosis?.summary).toContain('pods/exec');
  });

  test.each([
    ['is not reachable', { fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 503 }],
    ['loses its response', { fault: 'loseReply', verb: 'create', resource: 'pods/exec' }],
  ] as const)('that %s for a moment makes the step wait, not fail', async (_, fault) => {
    const context = await launched(write('[2]'));
    const fired = await event(context);
    fixture.kube.faults?.order(fault);
    await expect(operator.triggerReentry(context, fired)).rejects.toMatchObject({ transient: true });
    const again = await operator.triggerReentry(context, fired);
    expect(again).toMatchObject({ outcome: { state: 'succeeded', result: [2] } });
  });

  test('behind expired credentials is waited for without a limit', async () => {
    const context = await launched(write('[3]'));
    const fired = await event(context);
    fixture.kube.faults?.order({ fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 401, count: 10 });
    const late = { ...context, state: { ...context.state, naks: 50, unreadSince: 0 } };
    await expect(operator.triggerReentry(late, fired)).rejects.toMatchObject({ code: 'UNAUTHORIZED', transient: true });
    fixture.kube.faults?.order({ fault: 'clear' });
    expect(await operator.triggerReentry(late, fired)).toMatchObject({ outcome: { state: 'succeeded', result: [3] } });
  });

  test('is retried for 15 minutes after the first failure, then reported as unreadable', async () => {
    const context = await launched(write('[2]'));
    const fired = await event(context);
    const minutesAgo = (minutes: number) => {
      const unreadSince = Math.round(context.now() - minutes * 60_000);
      return { ...context, state: { ...context.state, naks: 1_000, unreadSince } };
    };
    fixture.kube.faults?.order({ fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 502, count: 4 });
    const early = minutesAgo(14);
    const since = early.state.unreadSince;
    await expect(operator.triggerReentry(early, fired)).rejects.toMatchObject({ transient: true, since });
    const outcome = await operator.triggerReentry(minutesAgo(16), fired);
    fixture.kube.faults?.order({ fault: 'clear' });
    expect(outcome).toMatchObject({ outcome: { state: 'failed', diagnosis: { code: 'RESULT_UNREADABLE' } } });
  });

  test('that the API server refuses to read is reported as unreadable at once', async () => {
    const context = await launched(write('[2]'));
    const fired = await event(context);
    fixture.kube.faults?.order({ fault: 'deny', verb: 'create', resource: 'pods/exec' });
    const outcome = await operator.triggerReentry(context, fired);
    fixture.kube.faults?.order({ fault: 'clear' });
    expect(outcome).toMatchObject({ outcome: { state: 'failed', diagnosis: { code: 'RESULT_UNREADABLE' } } });
  });

  test('of a skipped run is read after a short outage of the API server, too', async () => {
    const context = await launched(`${write('[4]')}; exit 7`, { skipOnExitCode: 7 });
    const fired = await event(context);
    fixture.kube.faults?.order({ fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 503 });
    await expect(operator.triggerReentry(context, fired)).rejects.toMatchObject({ transient: true });
    const again = await operator.triggerReentry(context, fired);
    expect(again).toMatchObject({ outcome: { state: 'skipped', result: [4] } });
  });
});

describe('the output of a sidecar', () => {
  const answering = (stdout: string, stderr = '') =>
    scriptedExec((client) => {
      client.send(frame(1, stdout));
      if (stderr !== '') client.send(frame(2, stderr));
      client.send(frame(3, SUCCESS));
    });

  test('is returned unchanged', async () => {
    await using server = await answering('{"n": 12345678901234567890}\n', '28\n');
    const exchange = { cluster: server.clusters.get('scripted'), pod: POD, log };
    expect(await extractXcomJson(exchange)).toBe('{"n": 12345678901234567890}\n');
  });

  test('is refused when bytes are missing, although it parses', async () => {
    await using server = await answering('[1]', '5\n');
    const exchange = { cluster: server.clusters.get('scripted'), pod: POD, log };
    await expect(extractXcomJson(exchange)).rejects.toThrow('3 of 5 bytes arrived');
  });

  test('is refused when it exceeds the limit', async () => {
    await using server = await answering(`"${'x'.repeat(2000)}"`);
    const exchange = { cluster: server.clusters.get('scripted'), pod: POD, log, maxBytes: 1000 };
    await expect(extractXcomJson(exchange)).rejects.toMatchObject({ problem: 'tooLarge' });
  });

  test('is the result although the sidecar cannot be ended', async () => {
    let asked = 0;
    await using server = await scriptedExec((client) => {
      asked += 1;
      if (asked === 1) client.send(frame(1, '[1]'));
      else client.send(frame(2, 'no such process'));
      const failed = {
        status: 'Failure',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '1' }] },
      };
      client.send(frame(3, asked === 1 ? SUCCESS : JSON.stringify(failed)));
    });
    expect(await extractXcom({ cluster: server.clusters.get('scripted'), pod: POD, log })).toBe('[1]');
    expect(asked).toBe(2);
  });

  test('is complete or an error wherever its connection is cut', async () => {
    const text = JSON.stringify(Array.from({ length: 5000 }, (_, n) => n));
    let cut = 0;
    await using server = await scriptedExec((client) => {
      const part = text.slice(0, Math.round((text.length * cut) / 20));
      client.send(frame(1, part), () => {
        if (cut < 20) client.terminate();
        else client.send(frame(3, SUCCESS));
      });
    });
    const exchange = { cluster: server.clusters.get('scripted'), pod: POD, log };
    for (; cut < 20; cut += 1) await expect(extractXcomJson(exchange)).rejects.toMatchObject({ transient: true });
    expect(await extractXcomJson(exchange)).toBe(text);
  });
});
