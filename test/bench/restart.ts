/**
 * API server and broker go away while pods end: `node test/bench/restart.ts [--runs 1] [--waiting 10000] [--rate 20]`.
 * On the local cluster by its faults; on a real one by the command in REENTRY_TEST_BREAKER (see test/support/breaker.ts), without it
 * only the broker is restarted. Nothing may be lost; told is how long after the recovery the first event comes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { breakerOf } from '../support/breaker.ts';
import { aField } from './field.ts';
import { completedTwice, stepsTaken } from './observer.ts';
import { benchFlags, reportOf, targetName } from './report.ts';
import { until } from './runs.ts';
import { endAll } from './waiting-runs.ts';

const asked = benchFlags({ waiting: 10_000, rate: 20 });
const SECONDS = 15;
const HAPPENINGS = ['API server restarted', 'etcd compacted', 'broker restarted'] as const;
const needed = asked.runs * HAPPENINGS.length * SECONDS * asked.rate;
await using field = await aField({ workers: 1, triggerers: 2, waiting: asked.waiting + needed });
const { target, installation, api, done } = field;
using report = reportOf('restart', targetName());
await using steps = await stepsTaken(installation);
const breaker = breakerOf(target);

/** Until the API takes reads again. */
const apiIsBack = async (): Promise<void> => {
  await until('the API server', async () => {
    try {
      return (await target.raw('GET', '/readyz')).status === 200;
    } catch {
      return false;
    }
  });
};
const happen = async (what: (typeof HAPPENINGS)[number]): Promise<void> => {
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
for (const what of HAPPENINGS) {
  if (what !== 'broker restarted' && breaker === undefined) continue;
  const firstEvent: number[] = [];
  const longest: number[] = [];
  for (let round = 0; round < asked.runs; round += 1) {
    const chosen = field.take(SECONDS * asked.rate);
    const ending = endAll(installation, api, chosen, asked.rate);
    await delay(2_000);
    await happen(what);
    const backAt = Date.now();
    const before = done.size;
    let firstAt: number | undefined;
    const first = until('the first event', () => {
      // A server that takes writes before it says that it is ready may have seen all ends told by then.
      if (done.size > before || chosen.every(({ runId }) => done.has(runId))) firstAt ??= Date.now();
      return firstAt !== undefined;
    });
    const askedAt = await ending;
    await first;
    lost += await field.untold(chosen);
    firstEvent.push((firstAt ?? Number.NaN) - backAt);
    longest.push(
      Math.max(
        ...chosen.flatMap(({ runId }) => {
          const resumedAt = Date.parse(done.get(runId)?.timings['resumedAt'] ?? '');
          return Number.isNaN(resumedAt) ? [] : [resumedAt - (askedAt.get(runId) ?? Number.NaN)];
        }),
      ),
    );
  }
  const more = { waiting: asked.waiting, rate: asked.rate };
  report.say({ figure: `${what}: recovery → first event`, unit: 'ms', values: firstEvent, more, bar: 15_000 });
  report.say({ figure: `${what}: longest wait of an end that the API took`, unit: 'ms', values: longest, more });
}
report.say({ figure: 'ends never told', unit: '', values: [lost], bar: 0 });
report.say({
  figure: 'steps taken by two messages',
  unit: '',
  values: [steps.twice().length],
  bar: 0,
  more: { steps: steps.taken },
});
report.say({ figure: 'runs completed twice', unit: '', values: [(await completedTwice(installation)).length], bar: 0 });
