import { share } from 'rxjs';
import type { ExecutorMembers } from '../ports/broker.ts';
import { executorHeartbeatSchema } from '../wire/presence.ts';
import { decodedMessages$ } from './core-messages.ts';
import type { Link } from './link.ts';

/** Heartbeats of executors as core messages: unstored, and none is sent late. */
export function executorMembers(link: Link): ExecutorMembers {
  const { nc, subjects } = link;
  return {
    publishHeartbeat(beat) {
      if (link.isConnected() && !nc.isClosed() && !nc.isDraining())
        nc.publish(subjects.executorHeartbeat.of(beat.queue, beat.executor), JSON.stringify(beat));
    },
    heartbeats$: decodedMessages$(link, subjects.executorHeartbeat.all, executorHeartbeatSchema).pipe(share()),
  };
}
