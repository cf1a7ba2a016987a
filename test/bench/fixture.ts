/** The fixture of most benches of the triggerer: an installation with waiting runs. */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type Client } from '../../src/client/index.ts';
import type { CompletedData } from '../../src/wire/events.ts';
import type { ClusterUnderTest } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';
import { type Api, type CountingProxy, openApi } from './api.ts';
import { type Heartbeats, heartbeatsOf } from './observer.ts';
import { aTarget } from './report.ts';
import { completions, until, warmUp } from './runs.ts';
import { seedWaiting, type WaitingRun } from './waiting-runs.ts';

/** An installation with waiting runs, and access to it. */
export interface Fixture extends AsyncDisposable {
  readonly target: ClusterUnderTest;
  readonly installation: RunningInstallation;
  readonly api: Api;
  readonly client: Client;
  readonly heartbeats: Heartbeats;
  readonly done: ReadonlyMap<string, CompletedData>;
  /** Takes waiting runs that no other call has taken. @throws RangeError if too few are left */
  take(count: number): readonly WaitingRun[];
  readonly seedSeconds: number;
  /** Waits until these runs have completed; returns how many have not within `timeoutMs` (default 90 s): their pods' ends were lost. */
  unfinished(runs: readonly WaitingRun[], timeoutMs?: number): Promise<number>;
}

/** Starts it: roles ready and warmed up, `waiting` runs stored and known to every triggerer. */
export async function startFixture(counts: {
  readonly workers: number;
  readonly triggerers: number;
  readonly waiting: number;
  readonly warm?: boolean;
  /** Further settings of the roles. */
  readonly env?: Readonly<Record<string, string>>;
  /** Proxy through which the roles reach the API. */
  readonly proxy?: CountingProxy;
}): Promise<Fixture> {
  const stack = new AsyncDisposableStack();
  const target = stack.use(await aTarget());
  counts.proxy?.connectTo(target.kubeconfig);
  const kubeconfig = counts.proxy?.kubeconfig ?? target.kubeconfig;
  const installation = stack.use(await startInstallation({ ...target, kubeconfig }, counts));
  const client = stack.use(await connect({ servers: installation.nats.url }));
  const api = stack.use(openApi(target.kubeconfig));
  const heartbeats = stack.use(heartbeatsOf(installation));
  const done = completions(installation);
  if (counts.workers > 0 && counts.warm !== false) await warmUp(client, target, installation, done);
  const startedAt = performance.now();
  const runs = [...(await seedWaiting(target, installation, api, { prefix: 'w', count: counts.waiting }))];
  const seedSeconds = (performance.now() - startedAt) / 1_000;
  // The cost of the seeding is over when every triggerer knows every run.
  await until('all triggerers knowing all runs', () => {
    const known = [...heartbeats.latest.values()].filter(
      ({ waiting = 0, problems = [] }) => waiting >= runs.length && problems.length === 0,
    );
    return known.length === counts.triggerers;
  });
  return {
    ...{ target, installation, client, api, heartbeats, done, seedSeconds },
    take: (count) => {
      if (count > runs.length) throw new RangeError(`${String(count)} runs requested, ${String(runs.length)} left`);
      return runs.splice(0, count);
    },
    async unfinished(ended, timeoutMs = 90_000) {
      const endsAt = Date.now() + timeoutMs;
      let left = ended.filter(({ runId }) => !done.has(runId));
      while (left.length > 0 && Date.now() < endsAt) {
        await delay(100);
        left = left.filter(({ runId }) => !done.has(runId));
        // Events that were published while this connection was down are missing here, but stored.
        if (Date.now() > endsAt - timeoutMs / 2)
          for (const run of left.slice(0, 20))
            if ((await client.status(run.runId)).outcome !== undefined) left = left.filter((one) => one !== run);
      }
      return left.length;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
