/** The `command` operator on a local cluster with injected faults. */
import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import { CommandOperator, type CommandOperatorOptions } from '../../src/operator/command-operator.ts';
import { type CommandParams, type CommandParamsInput, commandParamsSchema } from '../../src/operator/command-params.ts';
import type { Fault } from '../support/local-faults.ts';
import type { StepContext, StepOutcome } from '../../src/operator/operator.ts';
import type { Outcome } from '../../src/wire/outcome.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import { freshName } from '../support/kubernetes.ts';
import { operatorFixture } from '../support/operator-fixture.ts';
import { DEFAULTS } from '../support/defaults.ts';

const fixture = operatorFixture();

beforeEach(() => {
  fixture.kube.faults?.order({ fault: 'clear' });
});

const fence = { stream: 'STEPS', seq: 1, epoch: 0, by: 'e' };
const STATE: RunState = {
  ...{ v: 1, phase: 'Starting', queue: 'executor', operator: 'command', attempt: 1, step: 0, userFailures: 0 },
  ...{ infraFailures: 0, faults: 0, fence, op: 'o', timings: {}, requestHash: 'h' },
};

function aContext(
  input: Partial<CommandParamsInput> = {},
  more: Partial<StepContext<CommandParams>> = {},
): StepContext<CommandParams> {
  return {
    run: { tenant: 'default', runId: freshName('run') },
    installation: 'test',
    queue: 'executor',
    request: runRequestSchema.parse({ operator: 'command' }),
    params: commandParamsSchema.parse({ command: ['true'], image: 'alpine', namespace: fixture.namespace, ...input }),
    state: STATE,
    now: () => fixture.broker.now(),
    cluster: () => fixture.kube.cluster,
    namespaces: undefined,
    logs: fixture.broker.logs,
    results: fixture.broker.results,
    log: pino({ level: 'silent' }),
    checkOwner: () => Promise.resolve({ cancelRequested: false }),
    ...more,
  };
}

const failsWith = (status: number, message: string, more: Partial<Fault & { fault: 'failNext' }> = {}): Fault => ({
  fault: 'failNext',
  verb: 'create',
  resource: 'pods',
  status,
  message,
  ...more,
});

/** The outcome of a launch in one line. */
const summary = (outcome: StepOutcome): string => {
  switch (outcome.kind) {
    case 'defer':
      return 'launched';
    case 'later':
      return `again ${outcome.why.code}`;
    case 'over':
      return `failed ${outcome.outcome.diagnosis?.code ?? ''}`;
  }
};

/** Launches until the outcome is not `later`, at most `times`; the memo is passed on as the engine does. */
async function launched(options: Partial<CommandOperatorOptions>, times: number): Promise<readonly string[]> {
  const operator = new CommandOperator({ ...DEFAULTS.command, ...options });
  const outcomes: string[] = [];
  let context = aContext();
  for (let n = 0; n < times; n += 1) {
    const outcome = await operator.execute(context);
    outcomes.push(summary(outcome));
    if (outcome.kind !== 'later') break;
    context = {
      ...context,
      state: { ...context.state, ...(outcome.memo === undefined ? {} : { memo: outcome.memo }) },
    };
  }
  return outcomes;
}

const QUOTA = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1';
const MODIFIED = 'Operation cannot be fulfilled on pods "x": the object has been modified; please apply your changes';

describe('a refused creation', () => {
  test.each<[string, Fault, readonly string[], readonly string[]]>([
    ['1. 400', failsWith(400, 'bad'), ['failed INVALID_REQUEST'], ['failed INVALID_REQUEST']],
    [
      '1. 404',
      failsWith(404, 'namespaces "x" not found'),
      ['failed NAMESPACE_NOT_FOUND'],
      ['failed NAMESPACE_NOT_FOUND'],
    ],
    ['1. 422', failsWith(422, 'Pod is invalid'), ['failed INVALID_REQUEST'], ['failed INVALID_REQUEST']],
    ['2. 403 without quota', failsWith(403, 'no'), ['failed PERMISSION_DENIED'], ['failed PERMISSION_DENIED']],
    ['3. 403 quota', failsWith(403, QUOTA), ['failed QUOTA_EXCEEDED'], ['again QUOTA_EXCEEDED', 'launched']],
    ['4. 409 modified', failsWith(409, MODIFIED), ['failed INVALID_REQUEST'], ['again QUOTA_EXCEEDED', 'launched']],
    ['409 otherwise', failsWith(409, 'no'), ['failed INVALID_REQUEST'], ['failed INVALID_REQUEST']],
    [
      '5. 410 too old',
      failsWith(410, 'too old resource version'),
      ['failed API_UNAVAILABLE'],
      ['again API_UNAVAILABLE', 'launched'],
    ],
    ['7. 429', failsWith(429, ''), ['failed API_THROTTLED'], ['again API_THROTTLED', 'launched']],
    ['8. 500', failsWith(500, 'webhook'), ['failed API_UNAVAILABLE'], ['again API_UNAVAILABLE', 'launched']],
    [
      '10. 503',
      failsWith(503, 'away', { retryAfterSeconds: 1 }),
      ['failed API_UNAVAILABLE'],
      ['again API_UNAVAILABLE', 'launched'],
    ],
    ['501', failsWith(501, 'what'), ['failed API_UNAVAILABLE'], ['failed API_UNAVAILABLE']],
  ])('%s', async (_, fault, without, withOne) => {
    fixture.kube.faults?.order(fault);
    expect(await launched({ publishRetries: 0 }, 3)).toEqual(without);
    fixture.kube.faults?.order({ fault: 'clear' });
    fixture.kube.faults?.order(fault);
    expect(await launched({ publishRetries: 1 }, 3)).toEqual(withOne);
  });

  test('3. retries are counted over the attempts of one launch, and limited', async () => {
    fixture.kube.faults?.order(failsWith(403, QUOTA, { count: 3 }));
    expect(await launched({ publishRetries: 2 }, 5)).toEqual([
      'again QUOTA_EXCEEDED',
      'again QUOTA_EXCEEDED',
      'failed QUOTA_EXCEEDED',
    ]);
    fixture.kube.faults?.order(failsWith(403, QUOTA, { count: 4 }));
    expect(await launched({}, 5)).toEqual([...Array.from({ length: 4 }, () => 'again QUOTA_EXCEEDED'), 'launched']);
  });

  test('refused credentials make the run wait, without a limit, and use none of its retries', async () => {
    // Twice each: the connection reads its credentials again and repeats the request.
    fixture.kube.faults?.order(failsWith(401, 'expired', { count: 14 }));
    expect(await launched({ publishRetries: 0 }, 10)).toEqual([
      ...Array.from({ length: 7 }, () => 'again API_UNAUTHORIZED'),
      'launched',
    ]);
    fixture.kube.faults?.order(failsWith(401, 'expired', { count: 2 }));
    expect(await new CommandOperator(DEFAULTS.command).execute(aContext())).toMatchObject({
      kind: 'later',
      infrastructure: false,
    });
  });

  test.each<[string, Pick<Fault & { fault: 'failNext' }, 'verb' | 'resource'>]>([
    ['stop', { verb: 'get', resource: 'pods' }],
    ['clean-up', { verb: 'delete', resource: 'pods' }],
    ['find', { verb: 'get', resource: 'pods' }],
  ])('refused credentials of a %s requeue its message', async (step, where) => {
    const operator = new CommandOperator(DEFAULTS.command);
    const context = aContext();
    const { pod } = await operator.execute(context).then((made) => ('pod' in made ? made : { pod: undefined }));
    if (pod === undefined) throw new Error('not launched');
    const act = (): Promise<unknown> => {
      if (step === 'stop') return operator.stop({ ...context, state: { ...STATE, cancel: { at: 1 } } }, pod);
      return step === 'find' ? operator.find(context) : operator.cleanUp(context, { state: 'cancelled' }, pod);
    };
    fixture.kube.faults?.order(failsWith(401, 'expired', { ...where, count: 2 }));
    await expect(act()).rejects.toMatchObject({ code: 'UNAUTHORIZED', transient: true });
    await act();
    await fixture.kube.cluster.deletePod(pod, 0);
  });

  test('6. 429 with Retry-After delays the run for that time', async () => {
    fixture.kube.faults?.order(failsWith(429, 'slow down', { retryAfterSeconds: 7 }));
    const context = aContext();
    const outcome = await new CommandOperator(DEFAULTS.command).execute(context);
    if (outcome.kind !== 'later') throw new Error(summary(outcome));
    expect(outcome.notBefore - context.now()).toBeGreaterThan(6_000);
    expect(outcome.infrastructure).toBe(false);
  });

  test('12. a lost response makes no second pod', async () => {
    fixture.kube.faults?.order({ fault: 'loseReply', verb: 'create', resource: 'pods' });
    const context = aContext();
    expect(summary(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('launched');
    const pods = await fixture.kube.cluster.listPods(fixture.namespace, 'kubernetes_executor=True');
    expect(pods.filter(({ runId }) => runId === context.run.runId)).toHaveLength(1);
  });

  test('a namespace with a path is refused before any request', async () => {
    const context = aContext({ namespace: '..' });
    expect(new CommandOperator(DEFAULTS.command).check(context.request, context.params)).toHaveLength(1);
    expect(summary(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed INVALID_REQUEST');
    for (const name of ['.', '..'])
      await expect(fixture.kube.cluster.getPod(name, 'p')).rejects.toMatchObject({ fault: 'invalid' });
  });

  test('22. a bare pod as executor config is refused, and no pod is created', async () => {
    const { params } = aContext();
    const context = aContext(
      {},
      { params: { ...params, executorConfig: { podOverride: { spec: { containers: 1 } } } } },
    );
    expect(summary(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed INVALID_REQUEST');
  });
});

describe('a launch', () => {
  test('announces the pod, and finds it again under its name', async () => {
    const announced: string[] = [];
    const operator = new CommandOperator({
      ...DEFAULTS.command,
      created: (queue, { runId }, { uid }) => announced.push(`${queue} ${runId} ${uid}`),
    });
    const context = aContext();
    const first = await operator.execute(context);
    const second = await operator.execute(context);
    if (first.kind !== 'defer' || second.kind !== 'defer') throw new Error('not launched');
    expect(second.pod).toEqual(first.pod);
    expect(await operator.find(context)).toEqual(first.pod);
    expect(announced).toEqual(Array.from({ length: 2 }, () => `executor ${context.run.runId} ${first.pod?.uid ?? ''}`));
  });

  test('is not done for a run that was cancelled while it waited for its turn', async () => {
    const context = aContext({}, { checkOwner: () => Promise.resolve({ cancelRequested: true }) });
    expect(summary(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed CANCELLED');
    expect(await new CommandOperator(DEFAULTS.command).find(context)).toBeUndefined();
  });

  test('is checked by the API in a dry run', async () => {
    const operator = new CommandOperator(DEFAULTS.command);
    const pod = await operator.dryRun(aContext({ command: ['echo', 'x'] }), 1);
    expect(pod['spec']).toMatchObject({ containers: [{ name: 'base', args: ['echo', 'x'] }] });
    fixture.kube.faults?.order(failsWith(422, 'Pod is invalid'));
    await expect(operator.dryRun(aContext(), 1)).rejects.toBeInstanceOf(KubernetesError);
  });
});

describe('the pod of an attempt that has ended', () => {
  const SUCCEEDED: Outcome = { state: 'succeeded', exitCode: 0 };
  const FAILED: Outcome = { state: 'failed', exitCode: 1 };
  const UNSTARTED: Outcome = { state: 'failed' };
  test.each<[string, Partial<CommandOperatorOptions>, Outcome, string]>([
    ['33. retained and marked done if no pod is deleted', { deleteWorkerPods: false }, FAILED, 'checked done'],
    ['34. the same after success', { deleteWorkerPods: false }, SUCCEEDED, 'checked done'],
    ['35. deleted after failure', { deleteWorkerPodsOnFailure: true }, FAILED, 'deleted'],
    ['retained after failure by default', {}, FAILED, 'checked'],
    ['deleted after success by default', {}, SUCCEEDED, 'deleted'],
    ['deleted if it never ended, under any policy', { deleteWorkerPods: false }, UNSTARTED, 'deleted'],
    ['deleted when cancelled, under any policy', { deleteWorkerPods: false }, { state: 'cancelled' }, 'deleted'],
  ])('%s', async (_, options, outcome, expected) => {
    const operator = new CommandOperator({ ...DEFAULTS.command, ...options });
    const context = aContext({
      executorConfig: { podOverride: { metadata: { annotations: { 'local.reentry.dev/run-for': '3600' } } } },
    });
    const made = await operator.execute(context);
    if (made.kind !== 'defer' || made.pod === undefined) throw new Error(summary(made));
    const { pod } = made;
    await operator.cleanUp(context, outcome, pod);
    await operator.cleanUp(context, outcome, pod);
    const found = await fixture.kube.cluster.getPod(pod.namespace, pod.name);
    const { metadata } = { metadata: {}, ...found };
    const is = (label: string) => JSON.stringify(metadata).includes(`"${label}":"True"`);
    const going = JSON.stringify(metadata).includes('deletionTimestamp');
    const marks = [is('already_checked') && 'checked', is('airflow_executor_done') && 'done'].filter(Boolean).join(' ');
    expect(found === undefined || going ? 'deleted' : marks).toBe(expected);
  });
});

describe('a pod that does not start in time', () => {
  const event = (reason: string) => ({ kind: 'timeout' as const, reason, at: 0 });
  test('is replaced twice without using a retry, then the run fails', async () => {
    const operator = new CommandOperator(DEFAULTS.command);
    const code = async (stuckStarts: number) => {
      const outcome = await operator.triggerReentry(
        aContext({}, { state: { ...STATE, stuckStarts, infraFailures: 3 } }),
        event('STARTUP_TIMEOUT'),
      );
      return outcome.kind === 'over' ? outcome.outcome.diagnosis : undefined;
    };
    expect(await code(0)).toMatchObject({ code: 'STUCK_QUEUED', category: 'infrastructure' });
    expect(await code(1)).toMatchObject({ code: 'STUCK_QUEUED' });
    expect(await code(2)).toMatchObject({ code: 'STARTUP_TIMEOUT' });
  });

  test('is not replaced when it has started and ended meanwhile', async () => {
    const operator = new CommandOperator(DEFAULTS.command);
    const context = aContext({ command: ['sh', '-c', 'exit 4'] });
    const launched = await operator.execute(context);
    if (launched.kind !== 'defer' || launched.pod === undefined) throw new Error(JSON.stringify(launched));
    const made = await fixture.kube.cluster.getPod(launched.pod.namespace, launched.pod.name);
    if (made === undefined) throw new Error('there is a pod');
    const then = { ...fixture.kube.cluster.project(made), phase: 'Pending' as const, containers: [] };
    await fixture.kube.until(then, ({ phase }) => phase === 'Failed');
    const state = { ...STATE, pod: { ...launched.pod }, await: launched.await };
    const stale = { ...event('STARTUP_TIMEOUT'), pod: then };
    const outcome = await operator.triggerReentry({ ...context, state }, stale);
    expect(outcome).toMatchObject({
      outcome: { state: 'failed', exitCode: 4, diagnosis: { code: 'CONTAINER_FAILED' } },
    });
  });
});
