import type { Client } from '../../src/client/index.ts';
import { installationSelector } from '../../src/core/pod/labels.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import type { ClusterUnderTest } from './kubernetes.ts';
import type { RunningInstallation } from './running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);

/** The expected outcome of a run, with and without faults. */
export interface KnownRun {
  readonly runId: string;
  readonly state: string;
  /** All lines that container `base` writes. */
  readonly lines?: readonly string[];
  readonly result?: unknown;
}

/** The verdict, as one line of the results. */
export interface Verdict {
  readonly case: string;
  readonly faults: number;
  readonly runs: number;
  /** Runs without a `completed` event. */
  readonly lost: number;
  /** Events `completed` and log lines that are stored twice. */
  readonly twice: number;
  /** Runs whose state, lines or result are not the true ones. */
  readonly false: readonly string[];
  /** Pods that are left. */
  readonly stuck: number;
  readonly recoverySeconds: number;
}

/** Judges runs by what is stored: events, logs, and the cluster's pods. Prints the verdict as one line of JSON. */
export async function judged(
  {
    installation,
    target,
    client,
  }: { readonly installation: RunningInstallation; readonly target: ClusterUnderTest; readonly client: Client },
  facts: Pick<Verdict, 'case' | 'faults' | 'recoverySeconds'>,
  runs: readonly KnownRun[],
): Promise<Verdict> {
  const jsm = await installation.connection.nc.jetstreamManager();
  const info = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
  const ends = info.state.subjects ?? {};
  const wrong: string[] = [];
  let lost = 0;
  let twice = Object.values(ends).filter((count) => count > 1).length;
  for (const { runId, state, lines, result } of runs) {
    const subject = subjects.event.of({ tenant: 'default', runId }, 'completed');
    if (ends[subject] === undefined) {
      lost += 1;
      continue;
    }
    const message = await jsm.streams.getMessage(assets.events, { last_by_subj: subject });
    const { data }: { data: { state: string; result?: unknown; logs?: unknown; diagnosis?: { code: string } } } =
      message.json();
    if (data.state !== state) wrong.push(`${runId}: ${data.state} ${data.diagnosis?.code ?? ''}`);
    if (result !== undefined && JSON.stringify(data.result) !== JSON.stringify(result))
      wrong.push(`${runId}: result ${JSON.stringify(data.result)}`);
    if (lines === undefined) continue;
    const stored = (await Array.fromAsync(client.logs(runId))).map(({ text }) => text);
    twice += stored.length - new Set(stored).size;
    if (JSON.stringify(stored) !== JSON.stringify(lines) || JSON.stringify(data.logs) !== '{"complete":true,"gaps":0}')
      wrong.push(`${runId}: ${String(stored.length)} of ${String(lines.length)} lines, ${JSON.stringify(data.logs)}`);
  }
  const left = await target.cluster.listPods(installation.namespace, installationSelector(installation.namespace));
  const verdict = { ...facts, runs: runs.length, lost, twice, false: wrong, stuck: left.length };
  process.stdout.write(`${JSON.stringify(verdict)}\n`);
  return verdict;
}
