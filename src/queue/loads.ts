import type { QueueLoad } from '../wire/queues.ts';
import type { Wait } from '../trigger/wait.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** What waits and runs, by queue, as far as a triggerer sees it: runs in a worker's hands have no subscription. */
export function queueLoads(room: WaitingRoom, waits: Iterable<Pick<Wait, 'subscription'>>): readonly QueueLoad[] {
  const loads = new Map<string, { waiting: number; delayed: number; running: number }>();
  const of = (queue: string) => {
    const load = loads.get(queue) ?? { waiting: 0, delayed: 0, running: 0 };
    loads.set(queue, load);
    return load;
  };
  for (const queue of room.queues) of(queue);
  for (const { subscription } of waits) {
    const load = of(subscription.queue);
    if (subscription.pod !== undefined) load.running += 1;
    else if (subscription.await.gate === undefined) load.delayed += 1;
    else load.waiting += 1;
  }
  return [...loads].map(([queue, load]) => {
    const { paused = false, at, reason } = room.recordOf(queue) ?? {};
    const heldBack = room.heldBackOf(queue) ?? { turn: 0, key: 0, paused: 0 };
    return {
      ...{ queue, paused, ...load, heldBack },
      ...(at === undefined ? {} : { at }),
      ...(reason === undefined ? {} : { reason }),
    };
  });
}
