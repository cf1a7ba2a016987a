import { expect, test } from 'vitest';
import type { Context } from '../../support/pod-runs.ts';
import { over, podRuns, sh } from '../../support/pod-runs.ts';

const { operator, event, launch, storedLines, kube, podOf, untilGone } = podRuns();

/** The same step, `minutes` after its log could not be read for the first time. */
const minutesLater = (context: Context, minutes: number): Context => ({
  ...context,
  state: { ...context.state, unreadSince: Math.round(context.now() - minutes * 60_000) },
});

test.each([
  ['cannot answer', { fault: 'failNext', status: 503 }],
  ['throttles', { fault: 'failNext', status: 429 }],
  ['refuses credentials', { fault: 'failNext', status: 401, count: 2 }],
] as const)('a log that an API server which %s does not return is read completely later', async (_, fault) => {
  const context = await launch(sh('echo one; echo two'));
  const ended = await event(context);
  kube().faults?.order({ ...fault, verb: 'get', resource: 'pods/log' });
  await expect(operator.triggerReentry(context, ended)).rejects.toMatchObject({ transient: true });
  expect(await storedLines(context)).toEqual([]);
  const outcome = over(await operator.triggerReentry(minutesLater(context, 14), ended));
  expect(outcome.logs).toEqual({ complete: true, gaps: 0 });
  expect(await storedLines(context)).toEqual(['one', 'two']);
});

test('a log that could not be read for 15 minutes is reported as incomplete, and the run continues', async () => {
  const context = await launch(sh('echo one'));
  const ended = await event(context);
  kube().faults?.order({ fault: 'failNext', verb: 'get', resource: 'pods/log', status: 503, count: 2 });
  const late = minutesLater(context, 14);
  const since = late.state.unreadSince;
  await expect(operator.triggerReentry(late, ended)).rejects.toMatchObject({ transient: true, since });
  const outcome = over(await operator.triggerReentry(minutesLater(context, 16), ended));
  expect(outcome).toMatchObject({ state: 'succeeded', logs: { complete: false, gaps: 0 } });
});

test.each([
  ['refused', { fault: 'failNext', status: 403 }],
  ['no longer there', { fault: 'failNext', status: 404 }],
] as const)('a log that is %s is not requested again', async (_, fault) => {
  const context = await launch(sh('echo one'));
  const ended = await event(context);
  kube().faults?.order({ ...fault, verb: 'get', resource: 'pods/log' });
  expect(over(await operator.triggerReentry(context, ended)).logs).toEqual({ complete: false, gaps: 0 });
});

test('a run whose log cannot be read at its logging interval waits, and reads it at the next one', async () => {
  const context = await launch(sh('echo one; sleep 600', { loggingInterval: 5 }));
  const running = {
    kind: 'running',
    at: 1,
    pod: { ...(await kube().until(await podOf(context), isRunning)) },
  } as const;
  kube().faults?.order({ fault: 'failNext', verb: 'get', resource: 'pods/log', status: 503 });
  const event = { ...running, pod: { ...running.pod, containers: running.pod.containers.map((one) => ({ ...one })) } };
  expect(await operator.triggerReentry(context, event)).toMatchObject({ kind: 'defer' });
  expect(await storedLines(context)).toEqual([]);
  await expect
    .poll(async () => {
      await operator.triggerReentry(context, event);
      return storedLines(context);
    })
    .toEqual(['one']);
});

test('a stop waits a minute for the tail of the log, then deletes the pod', async () => {
  const context = await launch(sh('echo one; sleep 600', { terminationGracePeriod: 0 }));
  const pod = await kube().until(await podOf(context), isRunning);
  kube().faults?.order({ fault: 'failNext', verb: 'get', resource: 'pods/log', status: 503, count: 2 });
  await expect(operator.stop(context, pod)).rejects.toMatchObject({ transient: true });
  expect((await podOf(context)).deletedAt).toBeUndefined();
  expect(await operator.stop(minutesLater(context, 2), pod)).toBe('stopping');
  await untilGone(context);
});

function isRunning({ phase }: { readonly phase: string }): boolean {
  return phase === 'Running';
}
