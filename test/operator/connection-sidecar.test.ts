/** A connection's settings for result sidecars, from the connections file to the pod. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import { XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import { parseConnections } from '../../src/process/connections-file.ts';
import { CommandOperator } from '../../src/operator/command-operator.ts';
import { type CommandParams, type CommandParamsInput, commandParamsSchema } from '../../src/operator/command-params.ts';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import type { StepContext } from '../../src/operator/operator.ts';
import type { Clusters, Manifest } from '../../src/ports/cluster.ts';
import { type Context, deferred, over, podRuns, sh } from '../support/pod-runs.ts';
import { DEFAULTS } from '../support/defaults.ts';

const SIDECAR = {
  image: 'mirror.test/tools/alpine:3',
  resources: { requests: { cpu: '2m' }, limits: { memory: '20Mi' } },
  securityContext: { readOnlyRootFilesystem: true },
};
const rules = { images: ['docker.io/library/alpine'], resources: { perContainer: { memory: '16Mi' } } };
const policy = () => ({ tenants: { default: rules } });
const { operator, aContext, launch, event, kube, namespace, podOf } = podRuns({ policy });
const commands = new CommandOperator({ ...DEFAULTS.command, policy });
let clusters: Clusters;
beforeAll(() => {
  const file = JSON.stringify({ mirror: { kubeconfig: kube().kubeconfig, xcomSidecar: SIDECAR } });
  clusters = openClusters({ connections: parseConnections('connections.json', file) });
});
afterAll(async () => {
  await clusters[Symbol.asyncDispose]();
});

const onMirror = (): Partial<Context> => ({ cluster: () => clusters.get('mirror') });
const ASKING = { doXcomPush: true, xcomMode: 'sidecar', containerResources: { limits: { memory: '16Mi' } } } as const;

test('the pod has the connection’s sidecar, exempt from the tenant’s rules, and the result is read from it', async () => {
  const script = `printf '{"n": 1}' > ${XCOM.resultFile}; until [ -e ${XCOM.mountPath}/go ]; do sleep 0.05; done`;
  const context = await launch(sh(script, ASKING), {}, onMirror());
  const { namespace, name } = await podOf(context);
  const manifest: Manifest = (await kube().cluster.getPod(namespace, name)) ?? {};
  const [, sidecar] = recordsIn(recordIn(manifest, 'spec'), 'containers');
  expect(sidecar).toMatchObject({ name: XCOM.container, ...SIDECAR });
  const pod = await kube().until(await podOf(context), ({ phase }) => phase === 'Running');
  await kube().cluster.exec(pod, { container: 'base', command: ['touch', `${XCOM.mountPath}/go`] });
  const outcome = over(await operator.triggerReentry(context, await event(context)));
  expect(outcome).toMatchObject({ state: 'succeeded', result: { n: 1 } });
});

/** The same context for the executor's operator. */
function aCommand(script: string, more: Partial<CommandParamsInput> = {}): StepContext<CommandParams> {
  const { doXcomPush, xcomMode, containerResources } = ASKING;
  const input = { command: ['sh', '-c', script], image: 'alpine', namespace: namespace() };
  const params = commandParamsSchema.parse({ ...input, doXcomPush, xcomMode, containerResources, ...more });
  return { ...aContext({}, {}, onMirror()), params };
}

test('a command’s pod has the connection’s sidecar, too, exempt from the rules', async () => {
  const context = aCommand('exec sleep 60');
  const { pod } = deferred(await commands.execute(context));
  const manifest: Manifest = (await kube().cluster.getPod(pod.namespace, pod.name)) ?? {};
  const [, sidecar] = recordsIn(recordIn(manifest, 'spec'), 'containers');
  expect(sidecar).toMatchObject({ name: XCOM.container, ...SIDECAR });
  expect(recordsIn(recordIn(commands.render(context, 1), 'spec'), 'containers')[1]).toMatchObject(SIDECAR);
  await kube().cluster.deletePod(pod, 0);
});

test('a command’s own container may not use the connection’s image', async () => {
  expect(over(await commands.execute(aCommand('true', { image: SIDECAR.image }))).diagnosis).toMatchObject({
    code: 'POLICY_REFUSED',
    problems: [{ path: 'pod.spec.containers[0].image' }],
  });
});

test('the tenant itself may not use the connection’s image', async () => {
  const context = aContext(sh('true', { ...ASKING, image: SIDECAR.image }), {}, onMirror());
  expect(over(await operator.execute(context)).diagnosis).toMatchObject({
    code: 'POLICY_REFUSED',
    problems: [{ path: 'pod.spec.containers[0].image' }],
  });
});
