/** What a broker says of itself, as far as an installation depends on it. Changes nothing. */
import type { Layout, StreamSettings } from '../wire/streams.ts';
import { connectNats } from './connection.ts';
import { layoutFrom } from './options.ts';
import type { BrokerOptions } from './options.ts';
import { drift } from './setup.ts';
import type { Drift } from './setup.ts';
import { natsError } from './errors.ts';

/** Facts about the server and its streams. */
export interface Inspection {
  readonly version: string;
  readonly maxPayloadBytes: number;
  /** Servers of its cluster; 1: it is alone. */
  readonly servers: number;
  /** Copies of the stream that has the fewest. */
  readonly replicas: number;
  /** Streams and consumers that are not as `setup` would make them. */
  readonly drift: readonly Drift[];
}

/** @throws ReentryError FORBIDDEN where these credentials may not look at streams */
export async function inspect(options: BrokerOptions, settings: StreamSettings): Promise<Inspection> {
  await using connection = await connectNats(options);
  const { nc } = connection;
  const layout: Layout = layoutFrom(options);
  try {
    const { replicas, found } = await drift(nc, layout, settings);
    const { version = '0', max_payload = 0, connect_urls = [] } = nc.info ?? {};
    return { version, maxPayloadBytes: max_payload, servers: Math.max(1, connect_urls.length), replicas, drift: found };
  } catch (error) {
    throw natsError('looking at the streams', error);
  }
}
