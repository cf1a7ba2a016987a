/** What a triggerer shows of itself each second, and answers when it is asked. */
import { ignoreElements, merge, type Observable, tap } from 'rxjs';
import type { Meter } from '../ports/ambient.ts';
import type { TriggererBroker } from '../ports/broker.ts';
import { queueLoads } from '../queue/loads.ts';
import { runRefSchema } from '../wire/presence.ts';
import type { TriggererHealth } from './health.ts';
import { type LoopDelay, loopDelay$ } from './loop-delay.ts';
import type { TriggerState } from './trigger-state.ts';
import { keyOf } from './waits.ts';

const GAUGES_EVERY_MS = 1_000;

/** What gauges and answers are made from. */
export interface Shown {
  readonly state: TriggerState;
  readonly health: () => TriggererHealth;
  readonly meter: Meter;
}

/** Sets the gauges every second. `measured` is called with the event loop's delay first. Never ends. */
export function gauges$(
  { state, health, meter }: Shown,
  {
    connections,
    since,
    now,
    measured,
  }: {
    readonly connections: readonly string[];
    /** When the process began, epoch milliseconds. */
    readonly since: number;
    readonly now: () => number;
    readonly measured: (delay: LoopDelay) => void;
  },
): Observable<never> {
  let counted = state.logging.stretched;
  return loopDelay$(GAUGES_EVERY_MS).pipe(
    tap((loopDelay) => {
      measured(loopDelay);
      const { waiting, shards, unsent, watches } = health();
      meter.gauge('event_loop_delay_seconds', loopDelay.p50 / 1000, { quantile: '0.5' });
      meter.gauge('event_loop_delay_seconds', loopDelay.p99 / 1000, { quantile: '0.99' });
      meter.gauge('subscriptions', waiting);
      meter.gauge('subscriptions_owned', state.waits.sizeOf(new Set(shards)));
      meter.gauge('events_unsent', unsent);
      for (const connection of connections) {
        const own = watches.filter((watch) => watch.connection === connection);
        const pods = own.reduce((sum, watch) => sum + watch.pods, 0);
        // A watch that has received nothing yet is as old as the process.
        const agesMs = own.map(({ ageMs }) => ageMs ?? now() - since);
        meter.gauge('pods_watched', pods, { connection });
        meter.gauge('watch_lag_seconds', Math.max(0, ...agesMs) / 1000, { connection });
      }
      for (const why of ['rate', 'floor'] as const) {
        const more = state.logging.stretched[why] - counted[why];
        if (more > 0) meter.count('logging_intervals_stretched_total', { why }, more);
      }
      counted = state.logging.stretched;
    }),
    ignoreElements(),
  );
}

/** Shows whether there is a connection to the broker; a new one is no reason to doubt the subscriptions yet. Never ends. */
export function connectionGauge$(
  connected$: Observable<boolean>,
  { state, meter }: Omit<Shown, 'health'>,
  now: () => number,
): Observable<never> {
  return connected$.pipe(
    tap((isConnected) => {
      meter.gauge('broker_connected', isConnected ? 1 : 0);
      if (isConnected) state.connected(now());
    }),
    ignoreElements(),
  );
}

/** Answers queries of other roles and of clients: a run's queue position, the load of the queues, and how this triggerer is. Never ends. */
export function answers$(
  { queries, clockOffsetMs }: Pick<TriggererBroker, 'queries' | 'clockOffsetMs'>,
  { state, health }: Omit<Shown, 'meter'>,
  { id, version = '' }: { readonly id: string; readonly version?: string | undefined },
): Observable<never> {
  return merge(
    queries.answer$('queuePosition', (data) => state.queues.positionOf(keyOf(runRefSchema.parse(data)))),
    queries.answer$('queues', () => queueLoads(state.queues, state.waits.all())),
    queries.answer$('roles', () => {
      const { oldestWatchMs, problems } = health();
      const watchAge = oldestWatchMs === undefined ? {} : { watchAgeMs: oldestWatchMs };
      return { role: 'triggerer', id, version, problems, clockOffsetMs: clockOffsetMs(), ...watchAge };
    }),
  );
}
