import { pino } from 'pino';
import { expect } from 'vitest';
import { judge } from '../../src/core/pod/judge.ts';
import { type PodProjection, type PodRef, projectPod } from '../../src/core/pod/projection.ts';
import type { StepContext, StepOutcome } from '../../src/operator/operator.ts';
import { type PodParams, podParamsSchema, type PodParamsInput } from '../../src/operator/pod-params.ts';
import { podOperator } from '../../src/operator/define-operator.ts';
import type { PodManifestOptions } from '../../src/operator/pod-manifests.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { RunRequestInput } from '../../src/wire/run-request.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import type { TriggerEvent } from '../../src/wire/triggers.ts';
import { freshName } from './kubernetes.ts';
import { operatorFixture } from './operator-fixture.ts';
import { DEFAULTS } from './defaults.ts';

export type Context = StepContext<PodParams>;
/** The outcome of a step that waits for a pod. */
export type Deferred = StepOutcome & { readonly kind: 'defer' } & { readonly pod: PodRef };

/** A state as the engine stores it when a step begins. */
export function aState(facts: Partial<RunState> = {}): RunState {
  const fence = { stream: 'STEPS', seq: 1, epoch: 0, by: 'w' };
  const counts = { attempt: 1, step: 0, userFailures: 0, infraFailures: 0, faults: 0 };
  const names = { v: 1, phase: 'Starting', queue: 'default', operator: 'pod' } as const;
  return { ...names, ...counts, fence, op: 'o', timings: {}, requestHash: 'h', ...facts };
}

/** A shell script as parameters. */
export const sh = (script: string, more: PodParamsInput = {}): PodParamsInput => ({
  cmds: ['sh', '-c'],
  arguments: [script],
  ...more,
});

export function deferred(outcome: StepOutcome): Deferred {
  if (outcome.kind !== 'defer' || outcome.pod === undefined) throw new Error(JSON.stringify(outcome));
  return { ...outcome, pod: outcome.pod };
}

export function over(outcome: StepOutcome) {
  if (outcome.kind !== 'over') throw new Error(JSON.stringify(outcome));
  return outcome.outcome;
}

/** The state after a deferral, as the engine stores it. */
export function after(context: Context, { pod, await: wait, facts }: Deferred): Context {
  const { cursors, logGaps, memo } = facts ?? {};
  const stored = { ...(cursors && { cursors }), ...(logGaps !== undefined && { logGaps }), ...(memo && { memo }) };
  return { ...context, state: { ...context.state, phase: 'Resuming', pod: { ...pod }, await: wait, ...stored } };
}

/** The pod operator on a real cluster and broker, without the engine, one step at a time. For the tests of one file. */
export function podRuns(options: Partial<PodManifestOptions> = {}) {
  const fixture = operatorFixture();
  const operator = podOperator.with({ ...DEFAULTS.pod, ...options });

  function aContext(
    input: PodParamsInput,
    envelope: Partial<RunRequestInput> = {},
    more: Partial<Context> = {},
  ): Context {
    return {
      run: { tenant: 'default', runId: freshName('run') },
      installation: 'test',
      queue: 'default',
      request: runRequestSchema.parse(envelope),
      params: podParamsSchema.parse({ image: 'alpine', namespace: fixture.namespace, ...input }),
      state: aState(),
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

  async function podOf(context: Context): Promise<PodProjection> {
    const pod = context.state.pod;
    const found = pod && (await fixture.kube.cluster.getPod(pod.namespace, pod.name));
    if (found === undefined) throw new Error('the pod is gone');
    return projectPod('test', found);
  }

  /** The event that a triggerer would publish, once the pod's state fires one. */
  async function event(context: Context): Promise<TriggerEvent> {
    const { pod, attempt, step } = context.state;
    const subscription = {
      v: 1,
      queue: 'default',
      attempt,
      step,
      stateRev: 1,
      ...(pod === undefined ? {} : { pod: { ...pod } }),
      await: context.state.await ?? {},
      then: 'resume',
    } as const;
    let fired: TriggerEvent | undefined;
    await expect
      .poll(
        async () => {
          const judgement = judge(subscription, await podOf(context), fixture.broker.now());
          if (judgement.kind === 'fire') fired = judgement.event;
          return judgement.kind;
        },
        { timeout: 30_000, interval: 50 },
      )
      .toBe('fire');
    if (fired === undefined) throw new Error('nothing fired');
    return fired;
  }

  async function launch(input: PodParamsInput, envelope: Partial<RunRequestInput> = {}, more: Partial<Context> = {}) {
    const context = aContext(input, envelope, more);
    return after(context, deferred(await operator.execute(context)));
  }

  async function toTheEnd(input: PodParamsInput, envelope: Partial<RunRequestInput> = {}, more: Partial<Context> = {}) {
    const context = await launch(input, envelope, more);
    return { context, outcome: over(await operator.triggerReentry(context, await event(context))) };
  }

  async function storedLines({ run }: Context, container = 'base'): Promise<readonly string[]> {
    const { chunks } = await fixture.broker.logs.read(run, { container, limit: 100 });
    const lines = chunks.flatMap(({ text }) => text.split('\n')).filter((line) => line !== '');
    return lines.map((line) => line.slice(line.indexOf(' ') + 1));
  }

  async function untilGone(context: Context): Promise<void> {
    await expect.poll(() => podOf(context).catch(() => 'gone'), { timeout: 20_000 }).toBe('gone');
  }

  return {
    operator,
    kube: () => fixture.kube,
    cluster: (): Cluster => fixture.kube.cluster,
    broker: () => fixture.broker,
    namespace: () => fixture.namespace,
    ...{ aContext, podOf, event, launch, toTheEnd, storedLines, untilGone },
  };
}
