import { mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConnections } from '../../src/process/connections-file.ts';
import { parsePolicy } from '../../src/policy/policy-file.ts';
import { WatchedFile } from '../../src/process/watched-file.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-policy-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function seen() {
  const logged: string[] = [];
  const gauges: Record<string, number | undefined> = {};
  const note = (level: string) => (_: object, message: string) => void logged.push(`${level} ${message}`);
  const log: Log = {
    ...{ debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') },
    child: () => log,
  };
  const meter: Meter = {
    count: () => undefined,
    observeSeconds: () => undefined,
    gauge: (name: string, value: number | undefined, labels: Readonly<Record<string, string>> = {}) => {
      gauges[`${name} ${labels['file'] ?? ''}`] = value;
    },
  };
  return { log, meter, logged, gauges, errors: () => logged.filter((line) => line.startsWith('error')) };
}

/** Changes the file as a mounted ConfigMap changes: by replacing a link. */
async function put(file: string, text: string): Promise<void> {
  const target = join(folder, `v${String(Math.random())}`);
  await writeFile(target, text);
  await symlink(target, `${file}.new`);
  await rename(`${file}.new`, file);
}

test('a changed file is read again; an invalid one is logged once and reported, and the last valid one stays in force', async () => {
  const path = join(folder, 'policy.yaml');
  let now = 0;
  const { log, meter, gauges, errors } = seen();
  await put(path, 'default: { images: [a] }');
  const file = new WatchedFile({ kind: 'policy', path, parse: parsePolicy, log, meter, now: () => now });
  const look = () => {
    now += 2_000;
    return [file.value?.default?.images, file.problem, gauges['config_file_valid policy']];
  };
  expect(look()).toEqual([['a'], undefined, 1]);
  await put(path, 'default: { images: [b] }');
  expect(look()).toEqual([['b'], undefined, 1]);
  await put(path, 'default: { imags: [c] }');
  const problem = `the policy file is invalid, and the last valid one stays in force: ${path}: default.imags: unknown field; did you mean images?`;
  const [images, shown, gauge] = look();
  expect([images, gauge]).toEqual([['b'], 0]);
  expect(String(shown).replace(/[(;] ?/g, '')).toBe(problem.replace(/[(;] ?/g, ''));
  expect(look()[0]).toEqual(['b']);
  expect(errors()).toHaveLength(1);
  await rm(path);
  expect(look()[0]).toEqual(['b']);
  expect(file.problem).toContain('cannot read');
  await put(path, 'default: { images: [d] }');
  expect(look()).toEqual([['d'], undefined, 1]);
});

test('a file that is invalid or missing at first has no value until it is corrected', async () => {
  for (const [name, text] of [
    ['wrong.yaml', 'tenant: {}'],
    ['none.yaml', undefined],
  ] as const) {
    const path = join(folder, name);
    if (text !== undefined) await put(path, text);
    let now = 0;
    const { log, meter, gauges, errors } = seen();
    const file = new WatchedFile({ kind: 'policy', path, parse: parsePolicy, log, meter, now: () => now });
    expect(file.value).toBeUndefined();
    expect(file.problem).toMatch(text === undefined ? /cannot read/ : /tenant: unknown field.*did you mean tenants\?/);
    expect([errors().length, gauges['config_file_valid policy']]).toEqual([1, 0]);
    await put(path, 'default: {}');
    now += 2_000;
    expect([file.value, file.problem]).toEqual([{ tenants: {}, default: {} }, undefined]);
  }
});

test('a connections file is watched in the same way', async () => {
  const path = join(folder, 'connections.yaml');
  await put(path, 'eu: { kubeconfg: x }');
  const { log, meter, gauges } = seen();
  const file = new WatchedFile({ kind: 'connections', path, parse: parseConnections, log, meter });
  expect(file.problem).toMatch(/eu: kubeconfg: unknown field.*kubeconfig/);
  expect(gauges['config_file_valid connections']).toBe(0);
});
