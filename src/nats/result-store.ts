import type { ObjectStore } from 'nats';
import type { ResultStore } from '../ports/stores.ts';
import { keys } from '../wire/subjects.ts';
import { natsError } from './errors.ts';
import type { Link } from './link.ts';
import { streamInfo } from './inspection.ts';

/** How long an object that was read may be given again, in milliseconds. */
const KEPT_MS = 10_000;

/** Results over 4 KiB, as objects with a SHA-256 digest. Putting the same name again replaces it. */
export function resultStore(link: Link): ResultStore {
  let opened: Promise<ObjectStore> | undefined;
  /** The object read last: clients take a large one in many parts. Held weakly, so that memory is given back where it is needed. */
  let last: { readonly key: string; readonly at: number; readonly data: WeakRef<Uint8Array> } | undefined;
  const store = async () => {
    // The library would make a missing bucket with its own defaults; so look first.
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
      const kept = last?.key === key && performance.now() - last.at < KEPT_MS ? last.data.deref() : undefined;
      if (kept !== undefined) return kept;
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
