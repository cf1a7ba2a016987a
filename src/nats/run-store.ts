import type { RunStore, Versioned } from '../ports/stores.ts';
import { runStateSchema } from '../wire/run-state.ts';
import type { RunState } from '../wire/run-state.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey } from '../wire/subjects.ts';
import { enc } from '../wire/tokens.ts';
import { decoded, operationOf, rawRunOf } from './codec.ts';
import { keyValues } from './key-values.ts';
import type { Entry } from './key-values.ts';
import type { Link } from './link.ts';

/** Run states in their bucket; each write carries an operation id, so that a lost acknowledgement is settled by reading. */
export function runStore(link: Link): RunStore {
  const states = keyValues(link, link.assets.stateBucket);
  const versioned = ({ key, data, revision }: Entry) => ({
    value: decoded(runStateSchema, data, `state of ${key}`),
    revision,
  });
  return {
    async read(run, options = {}) {
      const key = keys.run(run);
      let entry = await states.read(key, options.leader === true ? 'leader' : 'any');
      // Direct reads may come from a follower that is behind.
      if ((entry?.revision ?? 0) < (options.atLeastRevision ?? 0)) entry = await states.read(key, 'leader');
      return entry === undefined || entry.deleted ? undefined : versioned(entry);
    },
    async write(run, state, expectedRevision) {
      // What could not be read again must not be stored: every later step would fail on it.
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
      /** The last place that this page is past. */
      let past = after ?? 0;
      let bytes = 0;
      while (runs.length < limit) {
        const entry = await states.next(filter, past + 1);
        if (entry === undefined) return { runs, next: undefined };
        bytes += entry.data.byteLength;
        if (bytes > maxBytes && runs.length > 0) break;
        past = entry.revision;
        const [tenantToken, runIdToken] = entry.key.split('.');
        const run = rawRunOf(tenantToken ?? '', runIdToken ?? '');
        if (entry.deleted) continue;
        try {
          runs.push({ ...run, ...versioned(entry) });
        } catch (error) {
          // One state that nobody can read must not hide the others, nor stop the janitor that lists them.
          link.log?.error({ ...run, error: String(error) }, 'a stored state cannot be read; left out');
        }
      }
      return { runs, next: past };
    },
    async delete(run, revision) {
      await states.delete(keys.run(run), revision);
    },
  };
}
