/** The `command` operator on a local cluster whose API misbehaves on order. */
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
import { operatorStage } from '../support/operator-stage.ts';
import { DEFAULTS } from '../support/defaults.ts';

const stage = operatorStage();

beforeEach(() => {
  stage.kube.faults?.order({ fault: 'clear' });
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
    params: commandParamsSchema.parse({ command: ['true'], image: 'alpine', namespace: stage.namespace, ...input }),
    state: STATE,
    now: () => stage.broker.now(),
    cluster: () => stage.kube.cluster,
    namespaces: undefined,
    logs: stage.broker.logs,
    results: stage.broker.results,
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

/** What the launch came to, in one line. */
const told = (outcome: StepOutcome): string => {
  switch (outcome.kind) {
    case 'defer':
      return 'launched';
    case 'later':
      return `again ${outcome.why.code}`;
    case 'over':
      return `failed ${outcome.outcome.diagnosis?.code ?? ''}`;
  }
};

/** Launches until the outcome is not to try again, at most `times`; the memo goes along as the engine keeps it. */
async function launched(options: Partial<CommandOperatorOptions>, times: number): Promise<readonly string[]> {
  const operator = new CommandOperator({ ...DEFAULTS.command, ...options });
  const outcomes: string[] = [];
  let context = aContext();
  for (let n = 0; n < times; n += 1) {
    const outcome = await operator.execute(context);
    outcomes.push(told(outcome));
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

describe('a refused creation (executor §3.7, §10 1–12)', () => {
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
    stage.kube.faults?.order(fault);
    expect(await launched({ publishRetries: 0 }, 3)).toEqual(without);
    stage.kube.faults?.order({ fault: 'clear' });
    stage.kube.faults?.order(fault);
    expect(await launched({ publishRetries: 1 }, 3)).toEqual(withOne);
  });

  test('3. retries are counted over the attempts of one launch, and end', async () => {
    stage.kube.faults?.order(failsWith(403, QUOTA, { count: 3 }));
    expect(await launched({ publishRetries: 2 }, 5)).toEqual([
      'again QUOTA_EXCEEDED',
      'again QUOTA_EXCEEDED',
      'failed QUOTA_EXCEEDED',
    ]);
    stage.kube.faults?.order(failsWith(403, QUOTA, { count: 4 }));
    expect(await launched({}, 5)).toEqual([...Array.from({ length: 4 }, () => 'again QUOTA_EXCEEDED'), 'launched']);
  });

  test('credentials that are refused are waited for, whatever the retries, and spend none of the run', async () => {
    // Twice each: the connection reads its credentials anew and asks again.
    stage.kube.faults?.order(failsWith(401, 'expired', { count: 14 }));
    expect(await launched({ publishRetries: 0 }, 10)).toEqual([
      ...Array.from({ length: 7 }, () => 'again API_UNAUTHORIZED'),
      'launched',
    ]);
    stage.kube.faults?.order(failsWith(401, 'expired', { count: 2 }));
    expect(await new CommandOperator(DEFAULTS.command).execute(aContext())).toMatchObject({
      kind: 'later',
      infrastructure: false,
    });
  });

  test.each<[string, Pick<Fault & { fault: 'failNext' }, 'verb' | 'resource'>]>([
    ['stop', { verb: 'get', resource: 'pods' }],
    ['clean-up', { verb: 'delete', resource: 'pods' }],
    ['find', { verb: 'get', resource: 'pods' }],
  ])('credentials that are refused to a %s put its message back', async (step, where) => {
    const operator = new CommandOperator(DEFAULTS.command);
    const context = aContext();
    const { pod } = await operator.execute(context).then((made) => ('pod' in made ? made : { pod: undefined }));
    if (pod === undefined) throw new Error('not launched');
    const act = (): Promise<unknown> => {
      if (step === 'stop') return operator.stop({ ...context, state: { ...STATE, cancel: { at: 1 } } }, pod);
      return step === 'find' ? operator.find(context) : operator.cleanUp(context, { state: 'cancelled' }, pod);
    };
    stage.kube.faults?.order(failsWith(401, 'expired', { ...where, count: 2 }));
    await expect(act()).rejects.toMatchObject({ code: 'UNAUTHORIZED', transient: true });
    await act();
    await stage.kube.cluster.deletePod(pod, 0);
  });

  test('6. 429 with Retry-After puts the run off for so long', async () => {
    stage.kube.faults?.order(failsWith(429, 'slow down', { retryAfterSeconds: 7 }));
    const context = aContext();
    const outcome = await new CommandOperator(DEFAULTS.command).execute(context);
    if (outcome.kind !== 'later') throw new Error(told(outcome));
    expect(outcome.notBefore - context.now()).toBeGreaterThan(6_000);
    expect(outcome.infrastructure).toBe(false);
  });

  test('12. a lost reply makes no second pod', async () => {
    stage.kube.faults?.order({ fault: 'loseReply', verb: 'create', resource: 'pods' });
    const context = aContext();
    expect(told(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('launched');
    const pods = await stage.kube.cluster.listPods(stage.namespace, 'kubernetes_executor=True');
    expect(pods.filter(({ runId }) => runId === context.run.runId)).toHaveLength(1);
  });

  test('a namespace that leads elsewhere is refused before anything is asked', async () => {
    const context = aContext({ namespace: '..' });
    expect(new CommandOperator(DEFAULTS.command).check(context.request, context.params)).toHaveLength(1);
    expect(told(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed INVALID_REQUEST');
    for (const name of ['.', '..'])
      await expect(stage.kube.cluster.getPod(name, 'p')).rejects.toMatchObject({ fault: 'invalid' });
  });

  test('22. a bare pod as executor config is said, nothing is created', async () => {
    const { params } = aContext();
    const context = aContext(
      {},
      { params: { ...params, executorConfig: { podOverride: { spec: { containers: 1 } } } } },
    );
    expect(told(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed INVALID_REQUEST');
  });
});

describe('a launch', () => {
  test('tells of the pod, and meets it again under its name', async () => {
    const told: string[] = [];
    const operator = new CommandOperator({
      ...DEFAULTS.command,
      created: (queue, { runId }, { uid }) => told.push(`${queue} ${runId} ${uid}`),
    });
    const context = aContext();
    const first = await operator.execute(context);
    const second = await operator.execute(context);
    if (first.kind !== 'defer' || second.kind !== 'defer') throw new Error('not launched');
    expect(second.pod).toEqual(first.pod);
    expect(await operator.find(context)).toEqual(first.pod);
    expect(told).toEqual(Array.from({ length: 2 }, () => `executor ${context.run.runId} ${first.pod?.uid ?? ''}`));
  });

  test('is not made for a run that was cancelled while it waited for its turn', async () => {
    const context = aContext({}, { checkOwner: () => Promise.resolve({ cancelRequested: true }) });
    expect(told(await new CommandOperator(DEFAULTS.command).execute(context))).toBe('failed CANCELLED');
    expect(await new CommandOperator(DEFAULTS.command).find(context)).toBeUndefined();
  });

  test('shown by a dry run is what the API would admit', async () => {
    const operator = new CommandOperator(DEFAULTS.command);
    const pod = await operator.dryRun(aContext({ command: ['echo', 'x'] }), 1);
    expect(pod['spec']).toMatchObject({ containers: [{ name: 'base', args: ['echo', 'x'] }] });
    stage.kube.faults?.order(failsWith(422, 'Pod is invalid'));
    await expect(operator.dryRun(aContext(), 1)).rejects.toBeInstanceOf(KubernetesError);
  });
});

describe('the pod of a decided attempt (executor §5.3)', () => {
  const SUCCEEDED: Outcome = { state: 'succeeded', exitCode: 0 };
  const FAILED: Outcome = { state: 'failed', exitCode: 1 };
  const UNSTARTED: Outcome = { state: 'failed' };
  test.each<[string, Partial<CommandOperatorOptions>, Outcome, string]>([
    ['33. kept and marked done where nothing is deleted', { deleteWorkerPods: false }, FAILED, 'checked done'],
    ['34. the same after success', { deleteWorkerPods: false }, SUCCEEDED, 'checked done'],
    ['35. deleted after failure', { deleteWorkerPodsOnFailure: true }, FAILED, 'deleted'],
    ['kept after failure by default', {}, FAILED, 'checked'],
    ['deleted after success by default', {}, SUCCEEDED, 'deleted'],
    ['deleted where it never ended, whatever the policy', { deleteWorkerPods: false }, UNSTARTED, 'deleted'],
    ['deleted when cancelled, whatever the policy', { deleteWorkerPods: false }, { state: 'cancelled' }, 'deleted'],
  ])('%s', async (_, options, outcome, expected) => {
    const operator = new CommandOperator({ ...DEFAULTS.command, ...options });
    const context = aContext({
      executorConfig: { podOverride: { metadata: { annotations: { 'local.reentry.dev/run-for': '3600' } } } },
    });
    const made = await operator.execute(context);
    if (made.kind !== 'defer' || made.pod === undefined) throw new Error(told(made));
    const { pod } = made;
    await operator.cleanUp(context, outcome, pod);
    await operator.cleanUp(context, outcome, pod);
    const found = await stage.kube.cluster.getPod(pod.namespace, pod.name);
    const { metadata } = { metadata: {}, ...found };
    const is = (label: string) => JSON.stringify(metadata).includes(`"${label}":"True"`);
    const going = JSON.stringify(metadata).includes('deletionTimestamp');
    const fate = [is('already_checked') && 'checked', is('airflow_executor_done') && 'done'].filter(Boolean).join(' ');
    expect(found === undefined || going ? 'deleted' : fate).toBe(expected);
  });
});

describe('a pod that does not start in time (executor §6.5)', () => {
  const event = (reason: string) => ({ kind: 'timeout' as const, reason, at: 0 });
  test('is replaced twice without spending a retry, then the run fails', async () => {
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

  test('is not replaced when it has begun and ended after all', async () => {
    const operator = new CommandOperator(DEFAULTS.command);
    const context = aContext({ command: ['sh', '-c', 'exit 4'] });
    const launched = await operator.execute(context);
    if (launched.kind !== 'defer' || launched.pod === undefined) throw new Error(JSON.stringify(launched));
    const made = await stage.kube.cluster.getPod(launched.pod.namespace, launched.pod.name);
    if (made === undefined) throw new Error('there is a pod');
    const then = { ...stage.kube.cluster.project(made), phase: 'Pending' as const, containers: [] };
    await stage.kube.until(then, ({ phase }) => phase === 'Failed');
    const state = { ...STATE, pod: { ...launched.pod }, await: launched.await };
    const stale = { ...event('STARTUP_TIMEOUT'), pod: then };
    const outcome = await operator.triggerReentry({ ...context, state }, stale);
    expect(outcome).toMatchObject({
      outcome: { state: 'failed', exitCode: 4, diagnosis: { code: 'CONTAINER_FAILED' } },
    });
  });
});
