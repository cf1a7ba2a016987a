import { EMPTY, concatMap, of, share } from 'rxjs';
import type { ExecutorMembers } from '../ports.ts';
import { executorBeatSchema } from '../wire/executor-beat.ts';
import { decoded } from './codec.ts';
import { coreMessages$ } from './core-messages.ts';
import type { Link } from './link.ts';

/** Heartbeats of executors as core messages: unstored, and none is sent late. */
export function executorMembers(link: Link): ExecutorMembers {
  const { nc, subjects, log } = link;
  return {
    beat(beat) {
      if (link.isConnected() && !nc.isClosed() && !nc.isDraining())
        nc.publish(subjects.executorHeartbeat.of(beat.queue, beat.executor), JSON.stringify(beat));
    },
    beats$: coreMessages$(link, subjects.executorHeartbeat.all).pipe(
      concatMap(({ data, subject }) => {
        try {
          return of(decoded(executorBeatSchema, data, subject));
        } catch (error) {
          log?.warn({ subject, error: String(error) }, 'heartbeat not understood');
          return EMPTY;
        }
      }),
      share(),
    ),
  };
}
