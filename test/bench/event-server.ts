/** For `decode`: a server of one watch that sends changes as fast as the client reads. Prints its URL. Arguments: pods, changes. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { podLabels } from '../../src/core/pod/labels.ts';

const [pods = 0, changes = 0] = process.argv.slice(2).map(Number);

/** A small pod as an API server sends it: 3 KB, a third of it `managedFields`. */
function podOf(n: number, version: number): object {
  const run = { tenant: 'default', runId: `r${String(n)}` };
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      ...{ name: `p${String(n)}`, namespace: 'bench', uid: `u${String(n)}`, resourceVersion: String(version) },
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: podLabels({ installation: 'bench', run, attempt: 1, queue: 'default', context: {} }),
      annotations: {
        'reentry.dev/tenant': 'default',
        'reentry.dev/run-id': run.runId,
        'reentry.dev/base-container': 'base',
      },
      managedFields: ['kubelet', 'reentry'].map((manager) => ({
        ...{ manager, operation: 'Update', apiVersion: 'v1', fieldsType: 'FieldsV1', time: '2026-01-01T00:00:01Z' },
        fieldsV1: {
          'f:status': Object.fromEntries(Array.from({ length: 20 }, (_, key) => [`f:field-${String(key)}`, {}])),
        },
      })),
    },
    spec: {
      containers: [
        {
          name: 'base',
          image: 'busybox',
          command: ['sh', '-c', 'sleep 1'],
          resources: {},
          env: [{ name: 'A', value: 'b' }],
        },
      ],
      restartPolicy: 'Never',
      nodeName: 'node-1',
      tolerations: [
        { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
      ],
    },
    status: {
      phase: 'Running',
      conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
        ...{ type, status: 'True', lastProbeTime: null, lastTransitionTime: '2026-01-01T00:00:01Z' },
      })),
      containerStatuses: [
        {
          name: 'base',
          image: 'busybox',
          ready: true,
          restartCount: 0,
          state: { running: { startedAt: '2026-01-01T00:00:01Z' } },
        },
      ],
    },
  };
}
const line = (type: string, object: object): string => `${JSON.stringify({ type, object })}\n`;
// Made once: the reader is measured, not this server. Each pod in two versions, because unchanged pods are not reported.
const blocks = Array.from({ length: Math.ceil(pods / 250) }, (_, block) =>
  Buffer.from(
    Array.from({ length: 500 }, (_unused, n) =>
      line('MODIFIED', podOf((block * 500 + n) % pods, 1_000_000 + block * 500 + n)),
    ).join(''),
  ),
);
const server = createServer((request, response) => {
  const stream = async (): Promise<void> => {
    response.writeHead(200, { 'content-type': 'application/json' });
    for (let n = 0; n < pods; n += 1)
      if (!response.write(line('ADDED', podOf(n, n + 1)))) await once(response, 'drain');
    response.write(
      line('BOOKMARK', {
        kind: 'Pod',
        metadata: { resourceVersion: '9', annotations: { 'k8s.io/initial-events-end': 'true' } },
      }),
    );
    for (let sent = 0; sent < changes; sent += 500)
      if (!response.write(blocks[(sent / 500) % blocks.length])) await once(response, 'drain');
  };
  if (new URL(request.url ?? '/', 'http://x').searchParams.has('sendInitialEvents'))
    stream().catch(() => response.destroy());
  else response.writeHead(404).end('{}');
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(
    `http://127.0.0.1:${String(typeof address === 'object' && address !== null ? address.port : 0)}\n`,
  );
});
