import { EMPTY, ignoreElements, merge, NEVER, Subject, take } from 'rxjs';
import { expect, test } from 'vitest';
import type { Delivery } from '../../src/ports/broker.ts';
import { Progress } from '../../src/worker/progress.ts';

const A_DELIVERY: Delivery = {
  ...{ stream: 's', seq: 1, deliveries: 1, subject: 'x', tenantToken: 't', runIdToken: 'r', publishedAt: 0 },
  data: new Uint8Array(),
  ack: () => Promise.resolve(),
  nak: () => Promise.resolve(),
  abandon: () => undefined,
};
const MINUTES = 60_000;

test('a pipeline that ends by itself is reported; one that ends by the stop is not', () => {
  const progress = new Progress(() => 0);
  const stop$ = new Subject<void>();
  const running = merge(
    progress.stopping$(stop$),
    stop$.pipe(take(1), ignoreElements(), progress.endless('one that stops')),
    NEVER.pipe(progress.endless('one that goes on')),
  ).subscribe();
  expect(progress.stuck).toEqual([]);
  const early = EMPTY.pipe(progress.endless('the janitor')).subscribe();
  expect(progress.stuck).toEqual(['the janitor ended by itself']);
  stop$.next();
  expect(progress.stuck).toEqual([]);
  running.unsubscribe();
  early.unsubscribe();
});

test('a full lane is stuck once it has settled nothing for 15 minutes of connection; each settled message counts', async () => {
  let now = 0;
  const progress = new Progress(() => now);
  progress.connected(true);
  const ends: (() => void)[] = [];
  const handle = progress.settling('lane ctl', 2, () => new Promise((resolve) => ends.push(resolve)));
  const begin = () => handle(A_DELIVERY);
  const first = begin();
  now = 60 * MINUTES;
  expect(progress.stuck).toEqual([]); // There is room for another.
  const second = begin();
  now += 14 * MINUTES;
  expect(progress.stuck).toEqual([]);
  ends[0]?.();
  await first;
  const third = begin();
  now += 14 * MINUTES;
  expect(progress.stuck).toEqual([]);
  now += 2 * MINUTES;
  expect(progress.stuck).toEqual(['lane ctl has settled none of its messages for 960 s']);
  progress.connected(false);
  expect(progress.stuck).toEqual([]);
  for (const end of ends) end();
  await Promise.all([second, third]);
  progress.connected(true);
  now += 60 * MINUTES;
  expect(progress.stuck).toEqual([]);
});
