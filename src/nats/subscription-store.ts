/** The bucket of subscriptions: what runs wait for, and beside it the gates of queues and concurrency keys, so that one watch shows both in order. */
import { EMPTY, concatMap, of } from 'rxjs';
import type { z } from 'zod';
import { shardOf } from '../core/identity.ts';
import type { GateChange, SubscriptionChange, SubscriptionStore, GateStore, Versioned } from '../ports/stores.ts';
import { queueRecordSchema, concurrencySlotsSchema } from '../wire/queues.ts';
import { keys, runOfTokens } from '../wire/subjects.ts';
import { dec } from '../wire/tokens.ts';
import { subscriptionSchema } from '../wire/triggers.ts';
import { keyValues } from './buckets.ts';
import type { BucketEntry } from './buckets.ts';
import type { Link } from './link.ts';
import { liveWatch$ } from './live-watch.ts';
import type { BucketSignal } from './live-watch.ts';
import { parseMessage } from './messages.ts';

/** Trigger subscriptions: one key per run. Only the watch of a triggerer writes heartbeat keys. */
export function subscriptionStore(link: Link): SubscriptionStore {
  const bucket = link.assets.subscriptionBucket;
  const subscriptions = keyValues(link, bucket);
  const text = new TextDecoder();
  const versioned = ({ key, data, revision }: BucketEntry) => ({
    value: parseMessage(subscriptionSchema, data, `subscription ${key}`),
    revision,
  });
  return {
    async read(run) {
      const entry = await subscriptions.read(keys.subscription(shardOf(run), run), 'leader');
      return entry === undefined || entry.deleted ? undefined : versioned(entry);
    },
    async put(run, subscription, expectedRevision) {
      const key = keys.subscription(shardOf(run), run);
      const json = JSON.stringify(subscription);
      const present = expectedRevision === undefined ? await subscriptions.read(key, 'leader') : undefined;
      const expected = expectedRevision ?? (present === undefined || present.deleted ? 0 : present.revision);
      const outcome = await subscriptions.compareAndSet(key, json, expected, (data) => text.decode(data) === json);
      if (outcome.kind === 'written') return outcome;
      return { kind: 'conflict', current: outcome.current === undefined ? undefined : versioned(outcome.current) };
    },
    async delete(run) {
      const key = keys.subscription(shardOf(run), run);
      // A deletion marker for a missing key would only have to be swept.
      const present = await subscriptions.read(key, 'leader');
      if (present !== undefined && !present.deleted) await subscriptions.delete(key);
    },
    changes$: (replica) =>
      liveWatch$(link, bucket, replica).pipe(
        concatMap((signal) => {
          if (signal.kind === 'synced' || signal.kind === 'alive') return of<SubscriptionChange | GateChange>(signal);
          const [shard, tenantToken, runIdToken] = signal.key.split('.');
          if (shard === 'q' || shard === 'k') {
            const change = gateChange(signal);
            return change === undefined ? EMPTY : of<SubscriptionChange | GateChange>(change);
          }
          const run = runOfTokens(tenantToken, runIdToken);
          if (shard === undefined || run === undefined) return EMPTY;
          if (signal.kind === 'deleted') return of<SubscriptionChange | GateChange>({ kind: 'deleted', run, shard });
          try {
            const subscription = parseMessage(subscriptionSchema, signal.data, `subscription ${signal.key}`);
            return of<SubscriptionChange | GateChange>({
              kind: 'put',
              run,
              shard,
              subscription,
              revision: signal.revision,
            });
          } catch (error) {
            // Of a version that this one cannot read; a triggerer that can will act on it.
            link.log?.error({ key: signal.key, error: String(error) }, 'ignoring a subscription that cannot be read');
            return EMPTY;
          }
        }),
      ),
  };
}

/** The change of a gate. An invalid record counts as open: the worker checks again before it starts anything. */
function gateChange(signal: Extract<BucketSignal, { readonly key: string }>): GateChange | undefined {
  const [kind, first = '', second = ''] = signal.key.split('.');
  const value: unknown = signal.kind === 'put' ? jsonOf(signal.data) : undefined;
  if (kind === 'q') return { kind: 'queue', queue: first, record: queueRecordSchema.safeParse(value).data };
  const [tenant, concurrencyKey] = [dec(first), dec(second)];
  if (tenant === undefined || concurrencyKey === undefined) return undefined;
  return { kind: 'concurrencySlots', tenant, concurrencyKey, slots: concurrencySlotsSchema.safeParse(value).data };
}

function jsonOf(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}

/** Gates, in the bucket of subscriptions. */
export function gateStore(link: Pick<Link, 'nc' | 'js' | 'jsm' | 'assets'>): GateStore {
  const entries = keyValues(link, link.assets.subscriptionBucket);
  const text = new TextDecoder();

  const read = async <S extends z.ZodType>(key: string, schema: S): Promise<Versioned<z.output<S>> | undefined> => {
    const entry = await entries.read(key, 'leader');
    return entry === undefined || entry.deleted
      ? undefined
      : { value: parseMessage(schema, entry.data, `gate ${key}`), revision: entry.revision };
  };
  const write = async (key: string, value: object | undefined, expected: number): Promise<boolean> => {
    if (value === undefined) return expected === 0 || (await entries.delete(key, expected));
    const json = JSON.stringify(value);
    const outcome = await entries.compareAndSet(key, json, expected, (data) => text.decode(data) === json);
    return outcome.kind === 'written';
  };

  return {
    queue: (queue) => read(keys.queue(queue), queueRecordSchema),
    setQueue: (queue, record, expected) => write(keys.queue(queue), record, expected),
    concurrencySlots: (tenant, key) => read(keys.concurrencySlots(tenant, key), concurrencySlotsSchema),
    setConcurrencySlots: (tenant, key, slots, expected) => write(keys.concurrencySlots(tenant, key), slots, expected),
  };
}
