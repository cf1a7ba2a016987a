/** All that roles need of NATS, on one connection. */
import type { Broker } from '../ports/broker.ts';
import { runRefSchema } from '../wire/presence.ts';
import { filledBuckets } from '../wire/streams.ts';
import { brokerTime } from './broker-time.ts';
import { connectNats } from './connection.ts';
import { natsError } from './errors.ts';
import { streamInfo } from './inspection.ts';
import { linkOf } from './link.ts';
import type { BrokerOptions } from './link.ts';
import { liveLogs, logStore } from './logs.ts';
import { executorMembers, membership } from './membership.ts';
import { parsedMessages$ } from './messages.ts';
import { publisher } from './publish.ts';
import { roleQueries } from './queries.ts';
import { resultStore } from './result-store.ts';
import { requestStore, runStore } from './run-store.ts';
import { serviceHost } from './services.ts';
import { slotStore } from './slot-store.ts';
import { gateStore, subscriptionStore } from './subscription-store.ts';
import { bucketSweep } from './sweep.ts';
import { workQueues } from './work-queues.ts';

/** Age limit of a measurement of the buckets' fill. Intake reads it with each request. */
const FILL_AGE_MS = 5_000;

/**
 * Connects a role. Streams and consumers must exist already (`reentry setup`).
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID (without `waitForServer`)
 */
export async function openBroker(options: BrokerOptions): Promise<Broker> {
  const connection = await connectNats(options);
  const link = await linkOf(connection, options);
  const abort = new AbortController();
  const time = await brokerTime(link, abort.signal);

  let fill: { readonly at: number; readonly value: Promise<number> } | undefined;
  const measureFill = async () => {
    const infos = await Promise.all(filledBuckets(link.assets).map((stream) => streamInfo(link, stream)));
    return Math.max(...infos.map(({ bytes, maxBytes }) => (maxBytes > 0 ? bytes / maxBytes : 0)));
  };

  return {
    queues: workQueues(link),
    runs: runStore(link),
    requests: requestStore(link),
    subscriptions: subscriptionStore(link),
    gates: gateStore(link),
    queries: roleQueries(link),
    publish: publisher(link, time.now),
    logs: logStore(link),
    live: liveLogs(link),
    results: resultStore(link),
    membership: membership(link),
    executors: executorMembers(link),
    slots: slotStore(link),
    services: serviceHost(link),
    now: time.now,
    clockOffsetMs: time.offsetMs,
    connected$: link.connected$,
    nudges$: (worker) => parsedMessages$(link, link.subjects.nudge.of(worker), runRefSchema),
    async fill() {
      if (fill === undefined || performance.now() - fill.at > FILL_AGE_MS)
        fill = { at: performance.now(), value: measureFill() };
      try {
        return await fill.value;
      } catch (error) {
        fill = undefined;
        throw natsError('measuring the fill of the buckets', error);
      }
    },
    sweep: bucketSweep(link, time.now),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await connection[Symbol.asyncDispose]();
    },
  };
}
