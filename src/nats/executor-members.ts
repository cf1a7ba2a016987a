import { share } from 'rxjs';
import type { ExecutorMembers } from '../ports/broker.ts';
import { executorBeatSchema } from '../wire/executor-beat.ts';
import { heard$ } from './core-messages.ts';
import type { Link } from './link.ts';

/** Heartbeats of executors as core messages: unstored, and none is sent late. */
export function executorMembers(link: Link): ExecutorMembers {
  const { nc, subjects } = link;
  return {
    beat(beat) {
      if (link.isConnected() && !nc.isClosed() && !nc.isDraining())
        nc.publish(subjects.executorHeartbeat.of(beat.queue, beat.executor), JSON.stringify(beat));
    },
    beats$: heard$(link, subjects.executorHeartbeat.all, executorBeatSchema).pipe(share()),
  };
}
