/** An invalid policy or connections file: while a worker runs, and at its start. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { TARGETS } from '../support/kubernetes.ts';
import { healthPage, type ReentryProcess, runReentry } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';

const [local] = TARGETS;
const parsed = (json: string): unknown => JSON.parse(json);

async function page(role: ReentryProcess, path: string): Promise<string> {
  const { status, text } = await healthPage(role, path);
  return `${String(status)} ${text}`;
}

test('an invalid policy is reported at once and changes nothing; after a restart runs wait until it is corrected', async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
  const folder = await mkdtemp(join(tmpdir(), 'reentry-files-'));
  const policy = join(folder, 'policy.yaml');
  const put = async (text: string) => {
    await writeFile(`${policy}.new`, text);
    await rename(`${policy}.new`, policy);
  };
  await put('default: {}');
  const env = { REENTRY_POLICY: policy };
  const first = installation.start('worker', env);
  await using client = await connect({ servers: installation.nats.url });
  const submit = () =>
    client.submit({ params: { image: 'alpine', namespace: installation.namespace, cmds: ['true'] } });
  await expect.poll(() => page(first, '/readyz'), { timeout: 30_000 }).toBe('200 ready\n');

  await put('tenant: {}');
  const problem = 'tenant: unknown field';
  await expect.poll(() => page(first, '/readyz'), { timeout: 30_000 }).toContain(problem);
  expect(await page(first, '/readyz')).toMatch(/^200 ready\nthe policy file is invalid, and the last valid one stays/);
  expect(await page(first, '/metrics')).toContain('reentry_config_file_valid{file="policy"} 0');
  for (let n = 0; n < 3; n += 1)
    expect(await client.waitFor((await submit()).runId)).toMatchObject({ state: 'succeeded' });
  expect(
    first
      .stderr()
      .split('\n')
      .filter((line) => line.includes(problem)),
  ).toHaveLength(1);
  const doctor = await runReentry(['doctor'], { ...installation.env, ...env });
  expect(doctor.stdout).toMatch(/broken {2}policy: .*\n.*tenant: unknown field.*did you mean tenants\?/);

  first.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  const second = installation.start('worker', env);
  const { runId } = await submit();
  await expect
    .poll(async () => parsed((await runReentry(['explain', runId, '--json'], installation.env)).stdout), {
      timeout: 30_000,
    })
    .toMatchObject({ phase: 'Queued', infraFailures: 0, blocked: { code: 'POLICY_UNAVAILABLE' } });
  expect(await page(second, '/readyz')).toMatch(/^503 the policy file is invalid, and there is none to use instead/);
  await put('default: {}');
  expect(await client.waitFor(runId)).toMatchObject({ state: 'succeeded' });
  await expect.poll(() => page(second, '/readyz'), { timeout: 30_000 }).toBe('200 ready\n');
  await rm(folder, { recursive: true });
}, 120_000);

test('an invalid connections file is reported while a role runs, and ends the next start with its reason', async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const folder = await mkdtemp(join(tmpdir(), 'reentry-files-'));
  const connections = join(folder, 'connections.yaml');
  const env = { REENTRY_CONNECTIONS: connections };
  await writeFile(connections, `default: { kubeconfig: ${target.kubeconfig} }`);
  const worker = installation.start('worker', env);
  await expect.poll(() => page(worker, '/readyz'), { timeout: 30_000 }).toBe('200 ready\n');
  await writeFile(connections, `default: { kubeconfg: ${target.kubeconfig} }`);
  await expect
    .poll(() => page(worker, '/readyz'), { timeout: 30_000 })
    .toMatch(/^200 ready\nthe connections file is invalid, and the last valid one stays in force: .*kubeconfg/);
  expect(await page(worker, '/metrics')).toContain('reentry_config_file_valid{file="connections"} 0');
  const { code, stderr } = await runReentry(['worker'], { ...installation.env, ...env });
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/connections\.yaml: default.*kubeconfg.*did you mean kubeconfig\?/);
  await rm(folder, { recursive: true });
}, 120_000);
