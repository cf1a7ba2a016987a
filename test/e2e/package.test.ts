/**
 * The packed tarball, installed into a folder of its own as a user would. Node refuses to strip types under `node_modules`, so only this
 * shows that what is published is compiled, complete and imports what it declares.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { manuals } from '../support/manuals.ts';

const exec = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-package-'));
  await exec('npm', ['pack', '--pack-destination', folder], { cwd: repository });
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  await exec('npm', ['install', './reentry-0.1.0.tgz', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder });
}, 180_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const node = async (script: string): Promise<unknown> => {
  const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', script], { cwd: folder });
  return JSON.parse(stdout);
};

test('the client entry loads neither the Kubernetes library nor an HTTP client', async () => {
  const loaded = await node(`
    import { registerHooks } from 'node:module';
    const loaded = new Set();
    registerHooks({ load(url, context, next) { loaded.add(url.match(/node_modules\\/((?:@[^/]+\\/)?[^/]+)/)?.[1]); return next(url, context); } });
    const { connect } = await import('reentry/client');
    console.log(JSON.stringify({ connect: typeof connect, packages: [...loaded].filter(Boolean) }));`);
  expect(loaded).toMatchObject({ connect: 'function' });
  expect(loaded).not.toMatchObject({ packages: expect.arrayContaining(['@kubernetes/client-node']) });
  expect(loaded).not.toMatchObject({ packages: expect.arrayContaining(['undici']) });
});

test('the main entry exports the building blocks', async () => {
  const names = await node(`console.log(JSON.stringify(Object.keys(await import('reentry'))))`);
  expect(names).toEqual(
    expect.arrayContaining(['connect', 'runWorker', 'KubernetesPodOperator', 'KubernetesPodTrigger', 'PodManager']),
  );
});

test('the manuals are in the package, at their paths', () => {
  const shipped = manuals().filter((manual) => !manual.startsWith('test/'));
  const missing = shipped.filter((manual) => !existsSync(join(folder, 'node_modules/reentry', manual)));
  expect(missing).toEqual([]);
});

test('reentry docs finds the manuals of the package', async () => {
  const bin = join(folder, 'node_modules/.bin/reentry');
  const { stdout } = await exec(bin, ['docs', 'wire', '--json'], { cwd: folder });
  expect(JSON.parse(stdout)).toMatchObject({ path: 'src/wire/README.md', text: expect.stringContaining('# ') });
});

test('the bin answers', async () => {
  const { stdout } = await exec(join(folder, 'node_modules/.bin/reentry'), ['schema', '--json'], { cwd: folder });
  expect(JSON.parse(stdout)).toBeTypeOf('object');
});

test('commands find the modules that they load on demand', async () => {
  const bin = join(folder, 'node_modules/.bin/reentry');
  // Exit code 5 is "unreachable"; a missing module would end it with 1.
  await expect(exec(bin, ['setup', '--nats-url', 'nats://127.0.0.1:1'], { cwd: folder })).rejects.toMatchObject({
    code: 5,
  });
});
