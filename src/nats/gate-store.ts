import type { GateStore, Versioned } from '../ports/stores.ts';
import { queueRecordSchema, concurrencySlotsSchema } from '../wire/queues.ts';
import { keys } from '../wire/subjects.ts';
import type { z } from 'zod';
import { decoded } from './codec.ts';
import { keyValues } from './key-values.ts';
import type { Link } from './link.ts';

/** Gates in the bucket of subscriptions: whoever watches those sees both in one order. */
export function gateStore(link: Pick<Link, 'nc' | 'js' | 'jsm' | 'assets'>): GateStore {
  const entries = keyValues(link, link.assets.subscriptionBucket);
  const text = new TextDecoder();

  const read = async <S extends z.ZodType>(key: string, schema: S): Promise<Versioned<z.output<S>> | undefined> => {
    const entry = await entries.read(key, 'leader');
    return entry === undefined || entry.deleted
      ? undefined
      : { value: decoded(schema, entry.data, `gate ${key}`), revision: entry.revision };
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
