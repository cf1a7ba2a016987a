/**
 * How many API requests a run with one pod costs: `node test/bench/api-calls.ts [--runs 5] [--count 50]`.
 * Counted by a proxy, because the server does not count by client. For comparison also in the server's own metrics, which on a real cluster
 * include kubelet, scheduler and controllers.
 */
import { connect } from '../../src/client/index.ts';
import { startInstallation } from '../support/running-installation.ts';
import { countedByServer, grown, openApi, openCountingProxy } from './api.ts';
import { aTarget, numberFlags, reportOf, targetName } from './report.ts';
import { completions, onePodRequest, podsLeft, submitAll, until, warmUp } from './runs.ts';

const { runs: rounds, count } = numberFlags({ runs: 5, count: 50 });
const name = targetName();
await using target = await aTarget();
await using api = openApi(target.kubeconfig);
await using proxy = await openCountingProxy(api);
await using installation = await startInstallation(
  { ...target, kubeconfig: proxy.kubeconfig },
  { workers: 1, triggerers: 1 },
);
await using client = await connect({ servers: installation.nats.url });
using report = reportOf('api-calls', name);
const done = completions(installation);
await warmUp(client, target, installation, done);

const ours: number[] = [];
const servers: number[] = [];
let parts: Record<string, number> = {};
let serverParts: Record<string, number> = {};
// A pod of the local cluster is a process; on a real one only simulated nodes start fifty at once.
const options = target.faults === undefined ? { runForSeconds: 1 } : { script: 'echo one; echo two' };
for (let round = 0; round < rounds; round += 1) {
  const before = { proxy: proxy.calls(), server: await countedByServer(api) };
  const prefix = `calls-${String(round)}`;
  await submitAll(client, onePodRequest(target, installation, { ...options, getLogs: true }), { prefix, count });
  await until('the end of all runs', () => done.size === (round + 1) * count + 1);
  // The bench’s own lists do not go through the proxy, but are in the server's metrics: lists are left out there.
  await until('the end of all pods', async () => (await podsLeft(target, installation)) === 0);
  const atProxy = grown(before.proxy, proxy.calls());
  const atServer = grown(before.server, await countedByServer(api));
  const perRun = (calls: ReadonlyMap<string, number>): Record<string, number> =>
    Object.fromEntries([...calls].map(([what, times]) => [what, times / count]));
  parts = perRun(atProxy);
  serverParts = perRun(
    new Map([...atServer].filter(([what]) => what.includes(' pods') && !/^(LIST|WATCH) /.test(what))),
  );
  ours.push(Object.values(parts).reduce((sum, part) => sum + part, 0));
  servers.push(
    Object.entries(serverParts).reduce(
      (sum, [what, part]) => sum + (/^(POST|DELETE) pods$|pods\/log$/.test(what) ? part : 0),
      0,
    ),
  );
}
const failed = [...done.values()].filter(({ state }) => state !== 'succeeded');
if (failed.length > 0) throw new Error(`${failed.length} runs did not succeed: ${JSON.stringify(failed[0])}`);
report.add({ figure: 'API calls per run', unit: 'calls', values: ours, bar: 4, more: { parts } });
report.add({
  figure: "create, log, delete in the server's metrics (all clients)",
  unit: 'calls',
  values: servers,
  more: { parts: serverParts },
});
