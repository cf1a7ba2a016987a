import { headers } from 'nats';
import type { Publisher } from '../ports/broker.ts';
import { CLOUD_EVENT_CONTENT_TYPE, cloudEvent } from '../wire/events.ts';
import type { EventType, RunKey } from '../wire/subjects.ts';
import { keys } from '../wire/subjects.ts';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import type { Link } from './link.ts';
import { publishRun } from './publish-run.ts';
import { publishAcked } from './publish.ts';

/** Less than a client waits for one answer to its `submit`. */
const UNKNOWN_QUEUE_MS = 1_500;
/** Room that headers of ours take at most beside a dead letter's data. */
const HEADER_BYTES = 16 * 1024;

/** What roles say; repeated for 15 s with the same id. `now`: broker time. */
export function publisher(link: Link, now: () => number): Publisher {
  const { nc, subjects } = link;

  const event = async (run: RunKey, type: EventType, step: number, data: CompletedData | LifecycleData) => {
    const header = headers();
    header.set('Content-Type', CLOUD_EVENT_CONTENT_TYPE);
    // Said once in a run's life: the subject's own sequence is a memory that outlives the window of message ids.
    const once = type === 'accepted' || type === 'completed';
    await publishAcked(link, subjects.event.of(run, type), JSON.stringify(cloudEvent(run, type, step, data, now())), {
      headers: header,
      // Ids are per stream and header text: so the encoded tokens, behind the kind.
      msgID: `ev:${keys.run(run)}:${step}:${type}`,
      ...(once ? { expect: 0 } : {}),
    });
  };

  const send = async (subject: string, message: object, id: string) => {
    await publishAcked(link, subject, JSON.stringify(message), { msgID: id });
  };

  return {
    event,
    async run(run, queue, data, id, traceparent) {
      await publishRun(link, queue, run, data, { msgID: id, unknownQueueMs: UNKNOWN_QUEUE_MS, traceparent });
    },
    start: (run, queue, message, id) => send(subjects.step.of(queue, 'start', run), message, id),
    resume: (run, queue, message, id) => send(subjects.step.of(queue, 'resume', run), message, id),
    ctl: (run, queue, message, id) => send(subjects.step.of(queue, 'ctl', run), message, id),
    async deadLetter(kind, run, data, why, { stream, seq }) {
      const header = headers();
      // JSON without line ends and non-ASCII characters, which headers cannot carry.
      header.set(
        'Reentry-Why',
        JSON.stringify({ code: why.code, category: why.category, summary: why.summary.slice(0, 2_000) }).replace(
          /[^\x20-\x7e]/g,
          '?',
        ),
      );
      const room = (nc.info?.max_payload ?? 1024 * 1024) - HEADER_BYTES;
      if (data.length > room) header.set('Reentry-Truncated-From-Bytes', String(data.length));
      await publishAcked(link, subjects.dlq.of(kind, run), data.subarray(0, room), {
        headers: header,
        // With the run: a stream that was lost and made anew counts from 1 again.
        msgID: `dlq:${stream}:${String(seq)}:${keys.run(run)}`,
      });
    },
    async nudge(worker, run) {
      nc.publish(subjects.nudge.of(worker), JSON.stringify(run));
      // A hint: its hearer looks again by itself, should the connection break now.
      await nc.flush().catch(() => undefined);
    },
  };
}
