import { mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPolicy } from '../../src/process/policy-file.ts';
import type { Log } from '../../src/ports/ambient.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-policy-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function aLog(): { readonly log: Log; readonly logged: string[] } {
  const logged: string[] = [];
  const note = (level: string) => (_: object, message: string) => void logged.push(`${level} ${message}`);
  const log: Log = {
    debug: note('debug'),
    info: note('info'),
    warn: note('warn'),
    error: note('error'),
    child: () => log,
  };
  return { log, logged };
}

test('a changed file is read again; an invalid one is logged once and the last valid one stays in force', async () => {
  const file = join(folder, 'policy.yaml');
  const put = async (text: string) => {
    // As a mounted ConfigMap changes: a link is swapped.
    const target = join(folder, `v${String(Math.random())}`);
    await writeFile(target, text);
    await symlink(target, `${file}.new`);
    await rename(`${file}.new`, file);
  };
  let now = 0;
  const { log, logged } = aLog();
  await put('default: { images: [a] }');
  const policy = openPolicy(file, log, () => now);
  const look = () => {
    now += 2_000;
    return policy().default?.images;
  };
  expect(look()).toEqual(['a']);
  await put('default: { images: [b] }');
  expect(look()).toEqual(['b']);
  await put('default: { imags: [c] }');
  expect(look()).toEqual(['b']);
  expect(look()).toEqual(['b']);
  expect(logged.filter((line) => line.startsWith('error'))).toHaveLength(1);
  await rm(file);
  expect(look()).toEqual(['b']);
  await put('default: { images: [d] }');
  expect(look()).toEqual(['d']);
});

test('a file that is invalid at first is rejected', async () => {
  const file = join(folder, 'wrong.yaml');
  await writeFile(file, 'tenant: {}');
  expect(() => openPolicy(file, aLog().log)).toThrow(/did you mean tenants\?/);
  expect(() => openPolicy(join(folder, 'none'), aLog().log)).toThrow(/cannot read/);
});
