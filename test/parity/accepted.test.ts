/** Every accepted field is read somewhere, or documented as having no effect. A coarse check: it searches for identifiers, so common names always pass. */
import { globSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SETTINGS } from '../../src/config.ts';
import { commandParamsSchema } from '../../src/operator/command-params.ts';
import { PARAM_FACTS, type ParamFacts } from '../support/param-facts.ts';

const root = new URL('../../', import.meta.url);

/** The identifiers in these files, without comments and strings. */
function wordsIn(patterns: readonly string[], but: readonly string[]): ReadonlySet<string> {
  const files = globSync([...patterns], { cwd: root }).filter((file) => !but.some((name) => file.endsWith(`/${name}`)));
  expect(files.length).toBeGreaterThan(0);
  const code = files.map((file) => readFileSync(new URL(file, root), 'utf8')).join('\n');
  const plain = code.replaceAll(/\/\*[^]*?\*\/|\/\/.*$|'(?:[^'\\\n]|\\.)*'/gm, ' ');
  return new Set(plain.match(/[A-Za-z_$][\w$]*/g));
}

const REFUSED = ['configFile', 'inCluster', 'clusterContext'];

test('each parameter of a pod run', () => {
  const words = wordsIn(['src/operator/**/*.ts', 'src/core/**/*.ts'], ['pod-params.ts']);
  const unread = Object.entries<ParamFacts>(PARAM_FACTS)
    .filter(([name, { inert }]) => inert !== true && !REFUSED.includes(name) && !words.has(name))
    .map(([name]) => name);
  // The schema itself converts it to `onFinishAction`.
  expect(unread).toEqual(['isDeleteOperatorPod']);
});

test('each parameter of a command run', () => {
  const words = wordsIn(['src/operator/command*.ts'], ['command-params.ts']);
  const names = Object.keys(commandParamsSchema.shape).filter((name) => !REFUSED.includes(name));
  expect(names.filter((name) => !words.has(name))).toEqual([]);
});

test('each setting', () => {
  const words = wordsIn(['src/**/*.ts'], ['config.ts']);
  expect(SETTINGS.map(({ name }) => name).filter((name) => !words.has(name))).toEqual([]);
});
