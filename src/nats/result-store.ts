import type { ObjectStore } from 'nats';
import type { ResultStore } from '../ports.ts';
import { keys } from '../wire/subjects.ts';
import { natsError } from './errors.ts';
import type { Link } from './link.ts';
import { streamInfo } from './stream-info.ts';

/** Results over 4 KiB, as objects with a SHA-256 digest. Putting the same name again replaces it. */
export function resultStore(link: Link): ResultStore {
  let opened: Promise<ObjectStore> | undefined;
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
      try {
        const objects = await store();
        return (await objects.getBlob(key)) ?? undefined;
      } catch (error) {
        throw natsError(`reading result ${key}`, error);
      }
    },
  };
}
