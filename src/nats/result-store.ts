/** Result objects: results over 4 KiB. */
import type { ObjectStore } from 'nats';
import type { ResultStore } from '../ports/stores.ts';
import { keys } from '../wire/subjects.ts';
import { natsError } from './errors.ts';
import { streamInfo } from './inspection.ts';
import type { Link } from './link.ts';

/** How long the last object read is cached, in milliseconds. */
const CACHE_MS = 10_000;

/** Results as objects with a SHA-256 digest. Storing the same name again replaces it. */
export function resultStore(link: Link): ResultStore {
  let opened: Promise<ObjectStore> | undefined;
  /** The last object read: clients take a large one in many parts. A weak reference, so that it can be collected. */
  let last: { readonly key: string; readonly at: number; readonly data: WeakRef<Uint8Array> } | undefined;
  const store = async () => {
    // Checked first: the library would create a missing bucket with its own defaults.
    opened ??= streamInfo(link, link.assets.resultBucket.stream).then(() =>
      link.js.views.os(link.assets.resultBucket.bucket),
    );
    try {
      return await opened;
    } catch (error) {
      opened = undefined;
      throw natsError('opening the results bucket', error);
    }
  };
  return {
    async put(run, attempt, name, data) {
      const key = keys.result(run, attempt, name);
      last = undefined;
      try {
        const objects = await store();
        const info = await objects.putBlob({ name: key }, data);
        return { name, size: info.size, digest: info.digest };
      } catch (error) {
        throw natsError(`storing result ${key}`, error);
      }
    },
    async get(run, attempt, name) {
      const key = keys.result(run, attempt, name);
      const cached = last?.key === key && performance.now() - last.at < CACHE_MS ? last.data.deref() : undefined;
      if (cached !== undefined) return cached;
      try {
        const objects = await store();
        const data = (await objects.getBlob(key)) ?? undefined;
        last = data === undefined ? undefined : { key, at: performance.now(), data: new WeakRef(data) };
        return data;
      } catch (error) {
        throw natsError(`reading result ${key}`, error);
      }
    },
  };
}
