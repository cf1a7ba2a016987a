import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);
const dockerfile = readFileSync(new URL('helm/Dockerfile', ROOT), 'utf8');

test('the image compiles modules that exist, and copies files that its build is given', () => {
  const [, list = ''] = /for \(const m of \[([^\]]+)\]\)/.exec(dockerfile) ?? [];
  const modules = [...list.matchAll(/'([^']+)'/g)].map(([, name = '']) => `src/${name}.ts`);
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) => names.split(' '));
  expect(modules.length).toBeGreaterThan(5);
  expect(copied).toContain('src');
  expect([...modules, ...copied].filter((path) => !existsSync(new URL(path, ROOT)))).toEqual([]);
  const given = readFileSync(new URL('helm/Dockerfile.dockerignore', ROOT), 'utf8').split('\n');
  expect(copied.filter((path) => !given.includes(`!${path}`))).toEqual([]);
});
