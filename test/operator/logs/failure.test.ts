import { expect, test } from 'vitest';
import type { PodParamsInput } from '../../../src/operator/pod-params.ts';
import { podRuns, sh } from '../../support/pod-runs.ts';

const { operator, aContext, toTheEnd, podOf, storedLines, event, launch, cluster } = podRuns();

test('E62 the manifest of a failed pod is stored with its log, without values', async () => {
  const envVars = { TOKEN: 'very-secret' };
  const { context } = await toTheEnd(sh('exit 1', { envVars }));
  const spec = (await storedLines(context, 'pod.spec')).join('\n');
  expect(JSON.parse(spec)).toMatchObject({ kind: 'Pod', metadata: { name: context.state.pod?.name } });
  expect(spec).not.toContain('very-secret');
  expect(await storedLines(context, 'pod.events')).toEqual([]);
  const quiet = await toTheEnd(sh('exit 1', { envVars, logPodSpecOnFailure: false }));
  expect(await storedLines(quiet.context, 'pod.spec')).toEqual([]);
});

test('E66 logEventsOnFailure stores container states and events, and the diagnosis has the warnings', async () => {
  const { context, outcome } = await toTheEnd({ image: 'missing/image', logEventsOnFailure: true });
  const lines = await storedLines(context, 'pod.events');
  expect(lines[0]).toMatch(/^pod .* Pending/);
  expect(lines).toContainEqual(expect.stringMatching(/^container base waiting, (ErrImagePull|ImagePullBackOff)/));
  expect(lines).toContainEqual(expect.stringMatching(/^Warning /));
  expect(outcome.diagnosis?.evidence.map(({ kind }) => kind)).toContain('event');
});

test('after two re-entries the notes are stored once', async () => {
  const context = await launch({ image: 'missing/image', logEventsOnFailure: true });
  const ended = await event(context);
  await operator.triggerReentry(context, ended);
  const once = await storedLines(context, 'pod.events');
  await operator.triggerReentry(context, ended);
  expect(await storedLines(context, 'pod.events')).toEqual(once);
});

test.each<[string, PodParamsInput]>([
  ['deferred', {}],
  ['blocking', { deferrable: false }],
])('a pod that is deleted by hand while %s is deleted once', async (_, more) => {
  const context = await launch(sh('sleep 600', { ...more, terminationGracePeriod: 0 }));
  const pod = await podOf(context);
  await cluster().deletePod(pod, 0);
  await expect.poll(() => cluster().getPod(pod.namespace, pod.name), { timeout: 20_000 }).toBeUndefined();
  const before = cluster().requestCounts()['delete'];
  await operator.cleanUp(context, { state: 'cancelled' }, pod);
  expect(cluster().requestCounts()['delete']).toBe(before);
  expect(await operator.stop(context, pod)).toBe('gone');
  expect(await operator.find?.(aContext(sh('true'), {}, { run: context.run }))).toBeUndefined();
});
