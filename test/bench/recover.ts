/**
 * The broker's data deleted under running pods, and `recover`: `KUBECONFIG=… node test/bench/recover.ts [--runs 200]`, on a cluster whose
 * pods cost nothing (kwok). Every pod must be found, none deleted, none created twice, and every run must complete once.
 */
import { installationSelector } from '../../src/core/pod/labels.ts';
import { connect } from '../../src/client/index.ts';
import { runReentry } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';
import { aTarget, numberFlags, reportOf, targetName } from './report.ts';
import { completions, onePodRequest, podsLeft, submitAll, until } from './runs.ts';

const { runs, seconds } = numberFlags({ runs: 200, seconds: 60 });
await using target = await aTarget();
await using installation = await startInstallation(target, { workers: 1, triggerers: 2 });
await using client = await connect({ servers: installation.nats.url });
using report = reportOf('recover', targetName());
const done = completions(installation);
await submitAll(client, onePodRequest(target, installation, { runForSeconds: seconds }), {
  prefix: 'run',
  count: runs,
});
await until('all pods', async () => (await podsLeft(target, installation)) === runs);
const selector = installationSelector(installation.namespace);
const uids = async () => (await target.cluster.listPods(installation.namespace, selector)).map(({ uid }) => uid);
const before = new Set(await uids());

await installation.loseBrokerData();
const setUp = await runReentry(['setup'], installation.env);
if (setUp.code !== 0) throw new Error(setUp.stderr);
const startedAt = performance.now();
const recovered = await runReentry(['recover', '--json'], installation.env);
const tookSeconds = (performance.now() - startedAt) / 1_000;
const answer: { counts: Record<string, number> } = JSON.parse(recovered.stdout);
const after = await uids();
report.add({ figure: 'time of recover', unit: 's', values: [tookSeconds] });
report.add({
  figure: 'pods recovered',
  unit: 'pods',
  values: [answer.counts['recovered'] ?? 0],
  bar: runs,
  atLeast: true,
});
report.add({
  figure: 'pods lost',
  unit: 'pods',
  values: [[...before].filter((uid) => !after.includes(uid)).length],
  bar: 0,
});
await until('all ends', () => done.size === runs);
await until('the end of all pods', async () => (await podsLeft(target, installation)) === 0);
const succeeded = [...done.values()].filter(({ state }) => state === 'succeeded').length;
const ownPod = [...done.values()].filter(({ pod }) => pod !== undefined && before.has(pod.uid)).length;
report.add({ figure: 'runs succeeded', unit: 'runs', values: [succeeded], bar: runs, atLeast: true });
report.add({ figure: 'runs completed by their own pod', unit: 'runs', values: [ownPod], bar: runs, atLeast: true });
