/** The buckets keyed by run: validated requests and run states. */
import { z } from 'zod';
import type { RequestStore, RunStore, Versioned } from '../ports/stores.ts';
import { runStateSchema } from '../wire/run-state.ts';
import type { RunState } from '../wire/run-state.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey } from '../wire/subjects.ts';
import { enc } from '../wire/tokens.ts';
import { keyValues } from './buckets.ts';
import type { BucketEntry } from './buckets.ts';
import type { Link } from './link.ts';
import { parseMessage, runOfRawTokens, operationOf } from './messages.ts';

/** Validated requests. Claiming with the same content twice is `created` both times, which settles a lost acknowledgement. */
export function requestStore(link: Link): RequestStore {
  const requests = keyValues(link, link.assets.requestBucket);
  const text = new TextDecoder();
  return {
    async claim(run, request) {
      const key = keys.run(run);
      const json = JSON.stringify(request);
      // Set where a read after a refusal finds the same content: this write with a lost acknowledgement, or another process's.
      const before = { same: false };
      const made = await requests.compareAndSet(key, json, 0, (data) => (before.same = text.decode(data) === json));
      if (made.kind === 'written' && !before.same) return { kind: 'created' };
      const found = made.kind === 'written' ? json : text.decode(made.current?.data);
      const revision = made.kind === 'written' ? made.revision : made.current?.revision;
      if (revision !== undefined) {
        // The same content under a later revision is as good: this write with a lost acknowledgement, or another claim.
        const anew = await requests.compareAndSet(key, found, revision, (data) => text.decode(data) === found);
        if (anew.kind === 'written')
          return made.kind === 'written'
            ? { kind: 'created' }
            : { kind: 'exists', request: parseMessage(z.json(), new TextEncoder().encode(found), `request of ${key}`) };
      }
      // Deleted meanwhile.
      return this.claim(run, request);
    },
    async read(run) {
      const key = keys.run(run);
      // A replica may not have the request yet, or only an earlier deletion: then the leader is read.
      const near = await requests.read(key);
      const entry = near === undefined || near.deleted ? await requests.read(key, 'leader') : near;
      return entry === undefined || entry.deleted ? undefined : parseMessage(z.json(), entry.data, `request of ${key}`);
    },
    async next(after) {
      const entry = await requests.next('>', after + 1);
      if (entry === undefined) return undefined;
      const { key, revision, deleted, at, data } = entry;
      const [tenantToken = '', runIdToken = ''] = key.split('.');
      return {
        run: runOfRawTokens(tenantToken, runIdToken),
        revision,
        at: at.getTime(),
        bytes: data.byteLength,
        deleted,
      };
    },
    delete: (run, revision) => requests.delete(keys.run(run), revision),
  };
}

/** Run states. Each write carries an operation id, so that a read settles a lost acknowledgement. */
export function runStore(link: Link): RunStore {
  const states = keyValues(link, link.assets.stateBucket);
  const versioned = ({ key, data, revision }: BucketEntry) => ({
    value: parseMessage(runStateSchema, data, `state of ${key}`),
    revision,
  });
  return {
    async read(run, options = {}) {
      const key = keys.run(run);
      let entry = await states.read(key, options.leader === true ? 'leader' : 'any');
      // A replica may be behind.
      if ((entry?.revision ?? 0) < (options.atLeastRevision ?? 0)) entry = await states.read(key, 'leader');
      return entry === undefined || entry.deleted ? undefined : versioned(entry);
    },
    async write(run, state, expectedRevision) {
      // A state that cannot be read must not be stored: every later step would fail on it.
      runStateSchema.parse(state);
      const outcome = await states.compareAndSet(
        keys.run(run),
        JSON.stringify(state),
        expectedRevision,
        (data) => operationOf(data) === state.op,
      );
      if (outcome.kind === 'written') return outcome;
      return { kind: 'conflict', current: outcome.current === undefined ? undefined : versioned(outcome.current) };
    },
    async list({ tenant, after, limit, maxBytes = Infinity }) {
      const filter = tenant === undefined ? '>' : `${enc(tenant)}.>`;
      const runs: (RunKey & Versioned<RunState>)[] = [];
      /** The last revision that this page has passed. */
      let past = after ?? 0;
      let bytes = 0;
      while (runs.length < limit) {
        const entry = await states.next(filter, past + 1);
        if (entry === undefined) return { runs, next: undefined };
        bytes += entry.data.byteLength;
        if (bytes > maxBytes && runs.length > 0) break;
        past = entry.revision;
        const [tenantToken, runIdToken] = entry.key.split('.');
        const run = runOfRawTokens(tenantToken ?? '', runIdToken ?? '');
        if (entry.deleted) continue;
        try {
          runs.push({ ...run, ...versioned(entry) });
        } catch (error) {
          // One unreadable state must not hide the others, nor stop the janitor that lists them.
          link.log?.error({ ...run, error: String(error) }, 'leaving out a run state that cannot be read');
        }
      }
      return { runs, next: past };
    },
    async delete(run, revision) {
      await states.delete(keys.run(run), revision);
    },
  };
}
