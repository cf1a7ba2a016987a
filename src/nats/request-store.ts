import { z } from 'zod';
import type { RequestStore } from '../ports/stores.ts';
import { keys } from '../wire/subjects.ts';
import { decoded, rawRunOf } from './codec.ts';
import { keyValues } from './key-values.ts';
import type { Link } from './link.ts';

/** Validated requests, whose content is written once. Creating the same content twice is `created` both times: that settles a lost acknowledgement. */
export function requestStore(link: Link): RequestStore {
  const requests = keyValues(link, link.assets.requestBucket);
  const text = new TextDecoder();
  return {
    async create(run, request) {
      const key = keys.run(run);
      const json = JSON.stringify(request);
      // Found by reading after a refusal: ours with a lost acknowledgement, or somebody else's.
      const before = { same: false };
      const outcome = await requests.compareAndSet(key, json, 0, (data) => (before.same = text.decode(data) === json));
      if (outcome.kind === 'written') return { kind: 'created', revision: before.same ? undefined : outcome.revision };
      // Deleted between our write and our read: try once more.
      if (outcome.current === undefined) return this.create(run, request);
      return { kind: 'exists', request: decoded(z.json(), outcome.current.data, `request of ${key}`) };
    },
    async claim(run, request) {
      const key = keys.run(run);
      const json = JSON.stringify(request);
      const before = { same: false };
      const made = await requests.compareAndSet(key, json, 0, (data) => (before.same = text.decode(data) === json));
      if (made.kind === 'written' && !before.same) return { kind: 'created' };
      const found = made.kind === 'written' ? json : text.decode(made.current?.data);
      const revision = made.kind === 'written' ? made.revision : made.current?.revision;
      if (revision !== undefined) {
        // The same content under a later revision is as good: it is ours with a lost acknowledgement, or another claim's.
        const anew = await requests.compareAndSet(key, found, revision, (data) => text.decode(data) === found);
        if (anew.kind === 'written')
          return made.kind === 'written'
            ? { kind: 'created' }
            : { kind: 'exists', request: decoded(z.json(), new TextEncoder().encode(found), `request of ${key}`) };
      }
      // Deleted in between.
      return this.claim(run, request);
    },
    async read(run) {
      const key = keys.run(run);
      // Written before the state: a follower that does not have it yet, or only its deletion before that, is asked past.
      const near = await requests.read(key);
      const entry = near === undefined || near.deleted ? await requests.read(key, 'leader') : near;
      return entry === undefined || entry.deleted ? undefined : decoded(z.json(), entry.data, `request of ${key}`);
    },
    async next(after) {
      const entry = await requests.next('>', after + 1);
      if (entry === undefined) return undefined;
      const { key, revision, deleted, at, data } = entry;
      const [tenantToken = '', runIdToken = ''] = key.split('.');
      return { run: rawRunOf(tenantToken, runIdToken), revision, at: at.getTime(), bytes: data.byteLength, deleted };
    },
    delete: (run, revision) => requests.delete(keys.run(run), revision),
  };
}
