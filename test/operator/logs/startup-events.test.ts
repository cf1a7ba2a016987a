import { expect, test } from 'vitest';
import { isStartToLog } from '../../../src/operator/logs/startup-events.ts';
import type { TriggerEvent } from '../../../src/wire/triggers.ts';
import { aPod } from '../../support/builders.ts';
import { after, type Context, deferred, over, podRuns, sh } from '../../support/pod-runs.ts';

const { operator, cluster, event, launch, podOf, storedLines, broker } = podRuns();
const LOG = 'pod.startup';

/** The same pod, created so long before its start. */
const slowly = (fired: TriggerEvent, ms = 60_000): TriggerEvent =>
  fired.pod === undefined ? fired : { ...fired, pod: { ...fired.pod, createdAt: fired.pod.createdAt - ms } };

const lists = (): number => cluster().requestCounts()['list'] ?? 0;

async function ended(context: Context, change: (fired: TriggerEvent) => TriggerEvent = (fired) => fired) {
  const fired = change(await event(context));
  const before = lists();
  const outcome = over(await operator.triggerReentry(context, fired));
  return { fired, outcome, listed: lists() - before };
}

test('an immediate start requests no events', async () => {
  const context = await launch(sh('true'));
  const { outcome, listed } = await ended(context);
  expect(outcome.state).toBe('succeeded');
  expect(listed).toBe(0);
  expect(await storedLines(context, LOG)).toEqual([]);
});

test('of a slow start, Kubernetes’ events are stored once, in their own log', async () => {
  const context = await launch(sh('echo hi'));
  const { fired, listed } = await ended(context, slowly);
  expect(listed).toBe(1);
  const lines = await storedLines(context, LOG);
  expect(lines[0]).toMatch(/^pod .* created$/);
  expect(lines).toContainEqual(expect.stringMatching(/^Normal Scheduled: /));
  expect(lines).toContainEqual(expect.stringMatching(/^Normal Started: /));
  expect(lines.at(-1)).toMatch(/^container base started after \d+ s$/);
  await operator.triggerReentry(context, fired);
  expect(await storedLines(context, LOG)).toEqual(lines);
  expect(await storedLines(context)).toEqual(['hi']);
});

test('are not stored if that is switched off', async () => {
  const context = await launch(sh('true', { logEventsOnStartup: false }));
  expect((await ended(context, slowly)).listed).toBe(0);
  expect(await storedLines(context, LOG)).toEqual([]);
});

test('of a failed start, too, and requested once for all uses', async () => {
  const context = await launch({ image: 'missing/image', logEventsOnFailure: true });
  const { outcome, listed } = await ended(context);
  expect(outcome.state).toBe('failed');
  expect(listed).toBe(1);
  expect(await storedLines(context, LOG)).toContainEqual(expect.stringMatching(/^Warning Failed: /));
  expect((await storedLines(context, 'pod.events')).length).toBeGreaterThan(0);
});

test('are stored once while the start takes long, and the rest when it is over', async () => {
  const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
  const waits = ['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done'];
  const initContainers = [{ name: 'waits', image: 'alpine', command: waits, volumeMounts }];
  const volumes = [{ name: 'shared', emptyDir: {} }];
  const context = await launch(sh('true', { initContainers, volumes, loggingInterval: 5 }));
  const initState = async () => (await podOf(context)).containers.find(({ name }) => name === 'waits')?.state;
  await expect.poll(initState, { timeout: 20_000 }).toBe('running');
  const seen = await podOf(context);
  const pending = slowly({
    kind: 'running',
    at: broker().now(),
    pod: { ...seen, containers: seen.containers.map((one) => ({ ...one })) },
  });
  const again = after(context, deferred(await operator.triggerReentry(context, pending)));
  const first = await storedLines(context, LOG);
  expect(first[0]).toMatch(/created$/);
  const before = lists();
  const further = after(again, deferred(await operator.triggerReentry(again, pending)));
  expect(lists()).toBe(before);
  await cluster().exec(seen, { container: 'waits', command: ['touch', '/shared/go'] });
  await ended(further, slowly);
  const last = await storedLines(context, LOG);
  expect(last.slice(0, first.length)).toEqual(first);
  expect(last.at(-1)).toMatch(/^container base started after/);
});

test.each<[string, number | undefined, number, boolean, Partial<Parameters<typeof isStartToLog>[0]>]>([
  ['quick', 29_000, 0, false, {}],
  ['slow', 30_000, 0, true, {}],
  ['slow for its time-out', 5_000, 0, true, { startupTimeoutSeconds: 10 }],
  ['slow, and switched off', 30_000, 0, false, { logEventsOnStartup: false }],
  ['slow, and stored before its end', 30_000, 20_000, true, {}],
  ['slow, and stored after its end', 30_000, 30_001, false, {}],
  ['in progress for a short time', undefined, 0, false, {}],
])('a start that is %s', (_, beganMs, loggedMs, isLogged, params) => {
  const at = 1_700_000_000_000;
  const base = { name: 'base', kind: 'main', restartCount: 0 } as const;
  const state = beganMs === undefined ? 'waiting' : 'running';
  const pod = aPod({
    createdAt: at,
    phase: beganMs === undefined ? 'Pending' : 'Running',
    containers: [{ ...base, state, ...(beganMs === undefined ? {} : { startedAt: at + beganMs }) }],
  });
  const logged = loggedMs === 0 ? undefined : { nanos: BigInt(at + loggedMs) * 1_000_000n, lines: 1 };
  const wanted = { logEventsOnStartup: true, startupTimeoutSeconds: 120, ...params };
  // However long it has run.
  const now = beganMs === undefined ? at + 29_999 : at + 3_600_000;
  expect(isStartToLog(wanted, pod, logged, now)).toBe(isLogged);
});
