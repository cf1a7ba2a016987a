/** Reads the state of the server, its streams and its queues. Changes nothing. */
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { QueueLanes } from '../ports/operations.ts';
import { consumers } from '../wire/streams.ts';
import type { Layout, StreamSettings } from '../wire/streams.ts';
import { LANES } from '../wire/subjects.ts';
import type { Lane } from '../wire/subjects.ts';
import { QUEUE_PATTERN } from '../wire/tokens.ts';
import { connectNats } from './connection.ts';
import { natsError } from './errors.ts';
import { CALL_TIMEOUT_MS, layoutFrom } from './link.ts';
import type { Link, BrokerOptions } from './link.ts';
import { drift } from './setup.ts';
import type { Drift } from './setup.ts';

/** Reply of STREAM.INFO. The library's type lacks `ts`, the server's clock (since 2.10). */
const answerSchema = z.looseObject({
  ts: z.string(),
  created: z.string(),
  config: z.looseObject({ max_bytes: z.number() }),
  state: z.looseObject({ bytes: z.number(), last_seq: z.number() }),
});

/** Size, last sequence and server time of a stream, from its leader. */
export async function streamInfo({ nc }: Pick<Link, 'nc'>, stream: string) {
  const answer = await nc.request(`$JS.API.STREAM.INFO.${stream}`, '', { timeout: CALL_TIMEOUT_MS });
  const parsed = answerSchema.safeParse(answer.json());
  if (!parsed.success)
    throw new ReentryError('NATS_UNAVAILABLE', `no information about stream ${stream}; was \`reentry setup\` run?`, {
      transient: true,
      cause: parsed.error,
    });
  const { ts, created, config, state } = parsed.data;
  return {
    serverTimeMs: Date.parse(ts),
    bytes: state.bytes,
    /** -1: unlimited. */
    maxBytes: config.max_bytes,
    lastSequence: state.last_seq,
    /** Creation time: another value means another stream of the same name. */
    created,
  };
}

/**
 * Messages of one queue that no process has received yet: requests and steps of all lanes. One request per consumer.
 * @throws ReentryError NOT_FOUND for a queue that was not set up, NATS_UNAVAILABLE, FORBIDDEN
 */
export async function undelivered({ jsm, assets }: Link, queue: string): Promise<number> {
  const asked = [
    jsm.consumers.info(assets.runs, consumers.intake(queue)),
    ...LANES.map((lane) => jsm.consumers.info(assets.steps, consumers.step(lane, queue))),
  ];
  try {
    const infos = await Promise.all(asked);
    return infos.reduce((sum, { num_pending }) => sum + num_pending, 0);
  } catch (error) {
    throw natsError(`reading queue ${queue}`, error);
  }
}

/** All queues, by the consumers that `setup` created for them. */
export async function queueLanes({ jsm, assets }: Link): Promise<readonly QueueLanes[]> {
  try {
    const [runs, steps] = await Promise.all(
      [assets.runs, assets.steps].map(async (stream) => {
        const messages = new Map<string, { readonly messages: number; readonly kind: string }>();
        for await (const { name, num_pending, num_ack_pending, config } of jsm.consumers.list(stream))
          messages.set(name, {
            messages: num_pending + num_ack_pending,
            kind: config.metadata?.['dev.reentry.kind'] ?? '',
          });
        return messages;
      }),
    );
    const intake = consumers.intake('');
    return [...(runs ?? [])].flatMap(([name, { messages, kind }]): QueueLanes[] => {
      const queue = name.startsWith(intake) ? name.slice(intake.length) : '';
      if (!QUEUE_PATTERN.test(queue)) return [];
      const lane = (of: Lane) => steps?.get(consumers.step(of, queue))?.messages ?? 0;
      return [
        {
          queue,
          kind: kind === 'executor' ? 'executor' : 'worker',
          requests: messages,
          steps: { ctl: lane('ctl'), resume: lane('resume'), start: lane('start') },
        },
      ];
    });
  } catch (error) {
    throw natsError('reading the queues', error);
  }
}

/** Facts about the server and its streams. */
export interface Inspection {
  readonly version: string;
  readonly maxPayloadBytes: number;
  /** Servers of its cluster; 1 for a single server. */
  readonly servers: number;
  /** Replicas of the stream that has the fewest. */
  readonly replicas: number;
  /** Streams and consumers that `setup` would create otherwise. */
  readonly drift: readonly Drift[];
}

/** Inspects the server and its streams. @throws ReentryError FORBIDDEN where these credentials may not read streams */
export async function inspect(options: BrokerOptions, settings: StreamSettings): Promise<Inspection> {
  await using connection = await connectNats(options);
  const { nc } = connection;
  const layout: Layout = layoutFrom(options);
  try {
    const { replicas, found } = await drift(nc, layout, settings);
    const { version = '0', max_payload = 0, connect_urls = [] } = nc.info ?? {};
    return { version, maxPayloadBytes: max_payload, servers: Math.max(1, connect_urls.length), replicas, drift: found };
  } catch (error) {
    throw natsError('reading the streams', error);
  }
}
