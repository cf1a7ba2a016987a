/** The image and the chart as a platform team uses them: built, installed with helm on a node that runs containers, upgraded under load. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import { type ServedImage, servedImage } from '../support/image-registry.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { aRelease, type Release, type Shape } from '../support/release.ts';

const given = TARGETS.find(({ name }) => name.includes('KUBECONFIG'));
const { REENTRY_TEST_IMAGE: layout, REENTRY_TEST_REGISTRIES: hosts } = process.env;
if (given === undefined || layout === undefined || hosts === undefined)
  throw new Error('KUBECONFIG, REENTRY_TEST_IMAGE (an OCI layout of .ci/image) and REENTRY_TEST_REGISTRIES are needed');

const SHAPES: Readonly<Record<string, Shape>> = {
  'a Deployment for each role': {
    processes: ['worker', 'triggerer', 'executor'],
    values: ([worker, triggerer, executor]) => ({
      workers: { default: { config: { httpPort: worker } } },
      triggerer: { config: { httpPort: triggerer } },
      executors: { default: { enabled: true, config: { httpPort: executor } } },
    }),
  },
  'one Deployment for all roles': {
    processes: ['serve'],
    values: ([httpPort]) => ({
      serve: { enabled: true, roles: ['worker', 'triggerer', 'executor'], config: { httpPort } },
    }),
  },
};

let api: ClusterUnderTest;
let image: ServedImage;
beforeAll(async () => {
  image = await servedImage(layout, hosts);
  api = await given.start();
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await image[Symbol.asyncDispose]();
});

describe('the image', () => {
  test('runs as a numeric user, has no shell, and contains its compiled code, owned by that user', async () => {
    expect(recordIn(image.config, 'config')['User']).toBe('65532:65532');
    const listings = image.layers.map((layer) =>
      promisify(execFile)('tar', ['-tvzf', layer, '--numeric-owner'], { maxBuffer: 64 * 1024 ** 2 }),
    );
    const files = (await Promise.all(listings)).flatMap(({ stdout }) => stdout.split('\n'));
    expect(files.filter((line) => /\/(?:ba|da)?sh$|\/(?:npm|apt|dpkg|busybox)$/.test(line))).toEqual([]);
    const compiled = files.filter((line) => / app\/compiled\/.+\/.+/.test(line));
    expect(compiled.length).toBeGreaterThan(100);
    expect(compiled.filter((line) => !line.includes(' 65532/65532 '))).toEqual([]);
  });
});

describe.each(Object.entries(SHAPES))('a release of %s', (_, shape) => {
  let release: Release;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'reentry-install-'));
    release = await aRelease(api, image, shape);
  }, 300_000);
  afterAll(async () => {
    await release[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  }, 180_000);

  test('reports from inside that each role has the permissions it needs', async () => {
    const report = await release.test();
    for (const role of ['worker', 'triggerer', 'executor'])
      expect(report).toMatch(new RegExp(`^ok .*permissions as .*${role}.* in namespace ${release.tasks}`, 'm'));
    expect(report.match(/^ok .*all subjects are allowed/gm)).toHaveLength(shape.processes.length);
    expect(report).not.toMatch(/^(?:broken|warning)/m);
  });

  test('runs pods and commands in a namespace that enforces `restricted`', async () => {
    const script = 'id -u; mkdir -p /airflow/xcom; echo "{\\"n\\": 7}" > /airflow/xcom/return.json';
    const onReal = { nodeSelector: { 'node.reentry.dev/kind': 'real' } };
    const asked = ['submit', '--wait', '--json', '--image', 'busybox', '--param', 'doXcomPush=true'];
    const pod = ['--param', `nodeSelector=${JSON.stringify(onReal.nodeSelector)}`];
    const command = ['--command', '--param', `executorConfig=${JSON.stringify({ podOverride: { spec: onReal } })}`];
    for (const more of [pod, command]) {
      const run = await release.cli(...asked, ...more, '--', 'sh', '-c', script);
      expect(run).toMatchObject({ code: 0 });
      expect(JSON.parse(run.stdout)).toMatchObject({ state: 'succeeded', result: { n: 7 } });
    }
  });

  test('loses no run while an upgrade replaces the pods of all its roles', async () => {
    const runs = Array.from({ length: 100 }, (_, n) => ({
      runId: `replaced-${String(n)}`,
      params: {
        image: 'busybox',
        getLogs: false,
        nodeSelector: { 'node.reentry.dev/kind': 'kwok' },
        annotations: { 'kwok.reentry.dev/run-for': `${String(2 + (n % 20))}s` },
      },
    }));
    const batch = join(folder, 'batch.jsonl');
    await writeFile(batch, runs.map((run) => JSON.stringify(run)).join('\n'));
    const submitted = release.cli('submit', '--wait', '--batch', batch);
    expect(await release.upgrade()).toContain('STATUS: deployed');
    expect(await submitted).toMatchObject({ code: 0, stderr: expect.stringContaining('100 succeeded') });
    const pods = async () =>
      recordsIn((await api.raw('GET', `/api/v1/namespaces/${release.tasks}/pods`)).body, 'items');
    await expect.poll(pods, { timeout: 20_000 }).toEqual([]);
  });
});
