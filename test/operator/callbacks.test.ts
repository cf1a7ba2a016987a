import { describe, expect, test } from 'vitest';
import {
  callbacksIn,
  type CallbackArgsByHook,
  KubernetesPodOperatorCallback,
  type PodCallbacks,
  type PodArgs,
  type ProgressArgs,
} from '../../src/operator/callbacks.ts';
import { recordIn, textIn } from '../../src/core/json.ts';
import { deferred, after, over, podRuns, sh } from '../support/pod-runs.ts';

const calls: string[] = [];
const seen: Record<string, unknown> = {};

class Recording extends KubernetesPodOperatorCallback {
  static override onSyncClientCreation(scene: CallbackArgsByHook['onSyncClientCreation']): void {
    calls.push(`client ${Object.keys(scene).toSorted().join(',')}`);
  }
  static override onPodManifestCreated({ podRequest }: CallbackArgsByHook['onPodManifestCreated']): void {
    calls.push('manifest');
    const labels = { team: 'a', 'reentry.dev/run': 'x' };
    podRequest['metadata'] = { ...recordIn(podRequest, 'metadata'), name: 'mine', labels };
  }
  static override onPodCreation({ pod, mode }: PodArgs): void {
    calls.push(`creation ${mode}`);
    seen['created'] = pod;
  }
  static override onPodStarting(): void {
    calls.push('starting');
  }
  static override async onPodCompletion(): Promise<void> {
    await Promise.resolve();
    calls.push('completion');
  }
  static override onPodTeardown(): void {
    calls.push('teardown');
  }
  static override onPodCleanup({ pod }: PodArgs): void {
    calls.push('cleanup');
    seen['cleaned'] = pod;
  }
  static override onOperatorResuming({ event }: CallbackArgsByHook['onOperatorResuming']): void {
    calls.push(`resuming ${event.kind}`);
    seen['event'] = event;
  }
  static override progressCallback({ line, containerName, timestamp, pod }: ProgressArgs): void {
    calls.push(`progress ${containerName} ${line} ${timestamp instanceof Date} ${pod.uid !== ''}`);
  }
}
const throwing: PodCallbacks = {
  onPodManifestCreated: () => {
    throw new Error('not this');
  },
  onPodCompletion: () => Promise.reject(new Error('nor this')),
  progressCallback: () => {
    throw new Error('nor that');
  },
};
const { operator, aContext, podOf, toTheEnd, cluster, storedLines } = podRuns({
  callbacks: { recording: Recording, throwing, hookless: { onPodCreation: () => undefined } },
});

describe('callbacks', () => {
  test('E55 E73 each hook is called once, in the order of the pod’s life, with each line without its time', async () => {
    calls.length = 0;
    const { context, outcome } = await toTheEnd(sh('echo one; echo two', { callbacks: 'recording' }));
    await operator.cleanUp(context, outcome, await podOf(context));
    expect(calls).toEqual([
      'client client,operator',
      'manifest',
      'creation sync',
      'resuming success',
      'progress base one true true',
      'progress base two true true',
      'completion',
      'teardown',
      'cleanup',
    ]);
    // Deleted by then: the hook is given the pod as it was.
    expect(textIn(recordIn(seen['cleaned'], 'metadata'), 'name')).toBe(context.state.pod?.name);
    const { labels, name } = {
      labels: recordIn(recordIn(seen['created'], 'metadata'), 'labels'),
      name: textIn(recordIn(seen['created'], 'metadata'), 'name'),
    };
    expect(labels).toMatchObject({ team: 'a', 'reentry.dev/installation': 'test' });
    expect(labels['reentry.dev/run']).not.toBe('x');
    expect(name).not.toBe('mine');
  });

  test('E55 each callback of a list is called, and a failed run calls no cleanup hook', async () => {
    calls.length = 0;
    const { context, outcome } = await toTheEnd(sh('exit 1', { callbacks: ['recording', 'recording'] }));
    await operator.cleanUp(context, outcome, await podOf(context));
    expect(calls).toEqual([
      'manifest',
      'manifest',
      'creation sync',
      'creation sync',
      'resuming failed',
      'resuming failed',
      'completion',
      'completion',
      'teardown',
      'teardown',
    ]);
  });

  test('of a blocking run are called once when the pod starts', async () => {
    calls.length = 0;
    let context = aContext(
      sh('until [ -e /tmp/go ]; do sleep 0.05; done', {
        callbacks: 'recording',
        deferrable: false,
        loggingInterval: 5,
      }),
    );
    context = after(context, deferred(await operator.execute(context)));
    await expect.poll(async () => (await podOf(context)).phase, { timeout: 20_000 }).toBe('Running');
    for (let n = 0; n < 2; n += 1)
      context = after(context, deferred(await operator.triggerReentry(context, { kind: 'running', at: 1 })));
    expect(calls.filter((call) => call === 'starting')).toHaveLength(1);
    await cluster().deletePod(await podOf(context), 0);
  });

  test('that throw change nothing', async () => {
    const { context, outcome } = await toTheEnd(sh('echo still', { callbacks: 'throwing' }));
    expect(outcome).toMatchObject({ state: 'succeeded', logs: { complete: true } });
    expect(await storedLines(context)).toEqual(['still']);
    await cluster().deletePod(await podOf(context), 0);
  });

  test('E73 of callbacks named by `progressCallback` only that hook is called', async () => {
    calls.length = 0;
    const { context, outcome } = await toTheEnd(sh('echo one', { progressCallback: 'recording' }));
    await operator.cleanUp(context, outcome, await podOf(context));
    expect(calls).toEqual(['progress base one true true']);
    const problemsOf = async (progressCallback: string) =>
      over(await operator.execute(aContext({ progressCallback }))).diagnosis?.problems;
    expect(await problemsOf('unknown')).toMatchObject([{ path: 'params.progressCallback' }]);
    expect(await problemsOf('hookless')).toEqual([
      { path: 'params.progressCallback', message: 'hookless has no progressCallback' },
    ]);
  });

  test('get `triggerKwargs` with the event, whose own fields these never replace', async () => {
    const triggerKwargs = { team: '{{ params.team }}', kind: 'success', message: 'all is well', pod: null };
    const params = sh('exit 1', { callbacks: 'recording', triggerKwargs });
    const { context, outcome } = await toTheEnd(params, { context: { params: { team: 'a' } } });
    expect(outcome).toMatchObject({ state: 'failed', exitCode: 1 });
    const event = recordIn(seen, 'event');
    expect(event).toMatchObject({ team: 'a', kind: 'failed', pod: { name: context.state.pod?.name } });
    expect(event['message']).not.toBe('all is well');
    await cluster().deletePod(await podOf(context), 0);
  });

  test('that are not registered are refused by name', async () => {
    expect(over(await operator.execute(aContext({ callbacks: 'unknown' }))).diagnosis).toMatchObject({
      code: 'INVALID_REQUEST',
      problems: [{ path: 'params.callbacks', message: 'no callbacks named unknown (recording, throwing, hookless)' }],
    });
  });
});

test('a module’s callbacks are what it exports with hooks', () => {
  expect(
    Object.keys(callbacksIn({ Recording, throwing, default: class Own extends Recording {}, other: 1, none: {} })),
  ).toEqual(['Recording', 'throwing', 'Own']);
});
