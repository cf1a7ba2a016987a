/** Submits the runs of a bench and waits for their ends. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '../../src/client/index.ts';
import { installationSelector } from '../../src/core/pod/labels.ts';
import { completedDataSchema } from '../../src/wire/events.ts';
import type { CompletedData } from '../../src/wire/events.ts';
import type { RunRequestInput } from '../../src/wire/run-request.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import type { ClusterUnderTest, PodOptions } from '../support/kubernetes.ts';
import type { RunningInstallation } from '../support/running-installation.ts';

const POLL_MS = 100;
const TIMEOUT_MS = 180_000;

/** Subjects of an installation. */
export const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);

/** A request for one pod without sidecar or logging interval. */
export function onePodRequest(
  target: ClusterUnderTest,
  installation: RunningInstallation,
  options: PodOptions & { readonly getLogs?: boolean },
): RunRequestInput {
  const { getLogs = false, ...rest } = options;
  const pod = JSON.parse(JSON.stringify(target.pod(rest)));
  return { params: { image: 'busybox', fullPodSpec: pod, namespace: installation.namespace, getLogs } };
}

/** Submits `count` runs without a check by a worker, `width` at a time; returns the milliseconds each took. */
export async function submitAll(
  client: Client,
  request: RunRequestInput,
  { prefix, count, width = 64 }: { readonly prefix: string; readonly count: number; readonly width?: number },
): Promise<readonly number[]> {
  return await pipelined(count, width, async (n) => {
    await client.submit(request, { runId: `${prefix}-${String(n)}`, checked: false });
  });
}

/** Does `work` for 0 to `count` - 1, `width` at a time; returns the milliseconds each took. */
export async function pipelined(
  count: number,
  width: number,
  work: (n: number) => Promise<void>,
): Promise<readonly number[]> {
  const tookMs: number[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const startedAt = performance.now();
      await work(next++);
      tookMs.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return tookMs;
}

/** Receives every `completed` event of the tenant `default` from now on, by run id. */
export function completions(installation: RunningInstallation): ReadonlyMap<string, CompletedData> {
  const seen = new Map<string, CompletedData>();
  installation.connection.nc.subscribe(subjects.event.completedOf('default'), {
    callback: (_, message) => {
      const event: { data: unknown } = message.json();
      const data = completedDataSchema.parse(event.data);
      seen.set(data.runId, data);
    },
  });
  return seen;
}

/** Waits until `when` holds. @throws Error with `what` and the result of `missing`, after three minutes */
export async function until(
  what: string,
  when: () => boolean | Promise<boolean>,
  missing: () => string = () => '',
): Promise<void> {
  const endsAt = Date.now() + TIMEOUT_MS;
  while (!(await when())) {
    if (Date.now() > endsAt)
      throw new Error(`${what} did not happen within ${String(TIMEOUT_MS / 1_000)} s ${missing()}`);
    await delay(POLL_MS);
  }
}

/** Number of pods of the installation. */
export async function podsLeft(target: ClusterUnderTest, installation: RunningInstallation): Promise<number> {
  return (await target.cluster.listPods(installation.namespace, installationSelector(installation.namespace))).length;
}

/** Runs one run to its end, so that the costs of starting are not measured. */
export async function warmUp(
  client: Client,
  target: ClusterUnderTest,
  installation: RunningInstallation,
  done: ReadonlyMap<string, CompletedData>,
): Promise<void> {
  await submitAll(client, onePodRequest(target, installation, { runForSeconds: 1 }), { prefix: 'warm-up', count: 1 });
  await until('the first run', () => done.has('warm-up-0'));
  await until('the end of the first pod', async () => (await podsLeft(target, installation)) === 0);
}
