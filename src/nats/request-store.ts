import { z } from 'zod';
import type { RequestStore } from '../ports.ts';
import { keys } from '../wire/subjects.ts';
import { decoded } from './codec.ts';
import { keyValues } from './key-values.ts';
import type { Link } from './link.ts';

/** Validated requests, written once. Creating the same content twice is `created` both times: that settles a lost acknowledgement. */
export function requestStore(link: Link): RequestStore {
  const requests = keyValues(link, link.assets.requestBucket);
  const text = new TextDecoder();
  return {
    async create(run, request) {
      const key = keys.run(run);
      const json = JSON.stringify(request);
      const outcome = await requests.compareAndSet(key, json, 0, (data) => text.decode(data) === json);
      if (outcome.kind === 'written') return { kind: 'created' };
      // Deleted between our write and our read: try once more.
      if (outcome.current === undefined) return this.create(run, request);
      return { kind: 'exists', request: decoded(z.json(), outcome.current.data, `request of ${key}`) };
    },
    async read(run) {
      const key = keys.run(run);
      // Written once, before the state: a follower that does not have it yet is asked past.
      const entry = (await requests.read(key)) ?? (await requests.read(key, 'leader'));
      return entry === undefined || entry.deleted ? undefined : decoded(z.json(), entry.data, `request of ${key}`);
    },
    async delete(run) {
      await requests.delete(keys.run(run));
    },
  };
}
