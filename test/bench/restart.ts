/**
 * API server and broker go away while pods end: `node test/bench/restart.ts [--runs 1] [--waiting 10000] [--rate 20]`.
 * On the local cluster by injected faults; on a real one by the command in REENTRY_TEST_BREAKER (see test/support/breaker.ts), without it
 * only the broker is restarted. No run may be lost; measured is the time from recovery to the first event.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { breakerOf } from '../support/breaker.ts';
import { startFixture } from './fixture.ts';
import { completedTwice, stepsTaken } from './observer.ts';
import { benchFlags, reportOf, targetName } from './report.ts';
import { until } from './runs.ts';
import { endAll } from './waiting-runs.ts';

const flags = benchFlags({ waiting: 10_000, rate: 20 });
const SECONDS = 15;
const DISRUPTIONS = ['API server restarted', 'etcd compacted', 'broker restarted'] as const;
const needed = flags.runs * DISRUPTIONS.length * SECONDS * flags.rate;
await using fixture = await startFixture({ workers: 1, triggerers: 2, waiting: flags.waiting + needed });
const { target, installation, api, done } = fixture;
using report = reportOf('restart', targetName());
await using steps = await stepsTaken(installation);
const breaker = breakerOf(target);

/** Waits until the API takes reads again. */
const apiIsBack = async (): Promise<void> => {
  await until('the API server', async () => {
    try {
      return (await target.raw('GET', '/readyz')).status === 200;
    } catch {
      return false;
    }
  });
};
const disrupt = async (what: (typeof DISRUPTIONS)[number]): Promise<void> => {
  switch (what) {
    case 'API server restarted':
      await breaker?.restart();
      await apiIsBack();
      return;
    case 'etcd compacted':
      await breaker?.compact();
      await apiIsBack();
      return;
    case 'broker restarted':
      await installation.restartBroker();
      return;
  }
};

let lost = 0;
for (const what of DISRUPTIONS) {
  if (what !== 'broker restarted' && breaker === undefined) continue;
  const firstEvent: number[] = [];
  const longest: number[] = [];
  for (let round = 0; round < flags.runs; round += 1) {
    const chosen = fixture.take(SECONDS * flags.rate);
    const ending = endAll(installation, api, chosen, flags.rate);
    await delay(2_000);
    await disrupt(what);
    const backAt = Date.now();
    const before = done.size;
    let firstAt: number | undefined;
    const first = until('the first event', () => {
      // A server that takes writes before it is ready may have reported all pod ends by then.
      if (done.size > before || chosen.every(({ runId }) => done.has(runId))) firstAt ??= Date.now();
      return firstAt !== undefined;
    });
    const requestedAt = await ending;
    await first;
    lost += await fixture.unfinished(chosen);
    firstEvent.push((firstAt ?? Number.NaN) - backAt);
    longest.push(
      Math.max(
        ...chosen.flatMap(({ runId }) => {
          const resumedAt = Date.parse(done.get(runId)?.timings['resumedAt'] ?? '');
          return Number.isNaN(resumedAt) ? [] : [resumedAt - (requestedAt.get(runId) ?? Number.NaN)];
        }),
      ),
    );
  }
  const more = { waiting: flags.waiting, rate: flags.rate };
  report.add({ figure: `${what}: recovery → first event`, unit: 'ms', values: firstEvent, more, bar: 15_000 });
  report.add({ figure: `${what}: pod end → resumed, longest`, unit: 'ms', values: longest, more });
}
report.add({ figure: 'runs never completed', unit: '', values: [lost], bar: 0 });
report.add({
  figure: 'steps taken by two messages',
  unit: '',
  values: [steps.twice().length],
  bar: 0,
  more: { steps: steps.taken },
});
report.add({ figure: 'runs completed twice', unit: '', values: [(await completedTwice(installation)).length], bar: 0 });
