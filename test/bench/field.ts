/** The ground most benches of the triggerer stand on: an installation with runs that wait. */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type Client } from '../../src/client/index.ts';
import type { CompletedData } from '../../src/wire/events.ts';
import type { ClusterUnderTest } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';
import { type Api, type CountingDoor, openApi } from './api.ts';
import { type Beats, beatsOf } from './observer.ts';
import { aTarget } from './report.ts';
import { completions, until, warmUp } from './runs.ts';
import { seedWaiting, type WaitingRun } from './waiting-runs.ts';

/** What a bench acts on. */
export interface Field extends AsyncDisposable {
  readonly target: ClusterUnderTest;
  readonly installation: RunningInstallation;
  readonly api: Api;
  readonly client: Client;
  readonly beats: Beats;
  readonly done: ReadonlyMap<string, CompletedData>;
  /** Runs that wait, not yet given out; a bench takes those that it ends. */
  take(count: number): readonly WaitingRun[];
  readonly seedSeconds: number;
  /** Waits until all of these are over, and gives how many are not within the patience: each would be a lost end. */
  untold(runs: readonly WaitingRun[], patienceMs?: number): Promise<number>;
}

/** Opens it: roles up and warm, `waiting` runs seeded and known to every triggerer. */
export async function aField(counts: {
  readonly workers: number;
  readonly triggerers: number;
  readonly waiting: number;
  readonly warm?: boolean;
  /** Settings of the roles beside the installation's. */
  readonly env?: Readonly<Record<string, string>>;
  /** The roles reach the API through it. */
  readonly door?: CountingDoor;
}): Promise<Field> {
  const stack = new AsyncDisposableStack();
  const target = stack.use(await aTarget());
  counts.door?.leadTo(target.kubeconfig);
  const kubeconfig = counts.door?.kubeconfig ?? target.kubeconfig;
  const installation = stack.use(await startInstallation({ ...target, kubeconfig }, counts));
  const client = stack.use(await connect({ servers: installation.nats.url }));
  const api = stack.use(openApi(target.kubeconfig));
  const beats = stack.use(beatsOf(installation));
  const done = completions(installation);
  if (counts.workers > 0 && counts.warm !== false) await warmUp(client, target, installation, done);
  const startedAt = performance.now();
  const runs = [...(await seedWaiting(target, installation, api, { prefix: 'w', count: counts.waiting }))];
  const seedSeconds = (performance.now() - startedAt) / 1_000;
  // Memory and processor of the seeding are over when every triggerer knows every run.
  await until('all triggerers knowing all runs', () => {
    const known = [...beats.latest.values()].filter(
      ({ waiting = 0, problems = [] }) => waiting >= runs.length && problems.length === 0,
    );
    return known.length === counts.triggerers;
  });
  return {
    ...{ target, installation, client, api, beats, done, seedSeconds },
    take: (count) => {
      if (count > runs.length) throw new RangeError(`${String(count)} runs asked for, ${String(runs.length)} left`);
      return runs.splice(0, count);
    },
    async untold(ended, patienceMs = 90_000) {
      const endsAt = Date.now() + patienceMs;
      let left = ended.filter(({ runId }) => !done.has(runId));
      while (left.length > 0 && Date.now() < endsAt) {
        await delay(100);
        left = left.filter(({ runId }) => !done.has(runId));
        // What was said while the eyes were disconnected is stored.
        if (Date.now() > endsAt - patienceMs / 2)
          for (const run of left.slice(0, 20))
            if ((await client.status(run.runId)).outcome !== undefined) left = left.filter((one) => one !== run);
      }
      return left.length;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
