import type { QueueLoad } from '../wire/queues.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { Queues } from './queues.ts';

/** What waits and runs, by queue, as far as subscriptions show it: a run that a worker works on has none. */
export function queueLoads(
  queues: Queues,
  waits: Iterable<{ readonly subscription: Subscription }>,
): readonly QueueLoad[] {
  const loads = new Map<string, { waiting: number; delayed: number; running: number }>();
  const of = (queue: string) => {
    const load = loads.get(queue) ?? { waiting: 0, delayed: 0, running: 0 };
    loads.set(queue, load);
    return load;
  };
  for (const queue of queues.names) of(queue);
  for (const { subscription } of waits) {
    const load = of(subscription.queue);
    if (subscription.pod !== undefined) load.running += 1;
    else if (subscription.await.gate === undefined) load.delayed += 1;
    else load.waiting += 1;
  }
  return [...loads].map(([queue, load]) => {
    const { paused = false, at, reason } = queues.recordOf(queue) ?? {};
    const heldBack = queues.heldBackOf(queue) ?? { turn: 0, key: 0, paused: 0 };
    return {
      ...{ queue, paused, ...load, heldBack },
      ...(at === undefined ? {} : { at }),
      ...(reason === undefined ? {} : { reason }),
    };
  });
}
