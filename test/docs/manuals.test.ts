import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { parse, type ParseError } from 'jsonc-parser';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { commandParamsSchema } from '../../src/operator/command-params.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { anchorsOf, fencesOf, linksOf, manuals, manualText, ROOT, tableRowsOf } from '../support/manuals.ts';
import { sections } from '../support/readme.ts';

const MAP = 'src/README.md';
const codeIn = (cell: string | undefined): readonly string[] =>
  [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);

describe.each(manuals())('%s', (manual) => {
  test('every link to a file of the repository, and every anchor, resolves', () => {
    const broken = linksOf(manual).filter((target) => {
      if (/^https?:/.test(target)) return false;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? manual : normalize(join(dirname(manual), path));
      if (!existsSync(join(ROOT, file))) return true;
      if (anchor === undefined) return false;
      const page = statSync(join(ROOT, file)).isDirectory() ? join(file, 'README.md') : file;
      return !anchorsOf(page).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test('every shell fence is run by a test, or has a reason why not', () => {
    const unknown = fencesOf(manual)
      .filter(({ language }) => ['sh', 'bash', 'shell', 'console'].includes(language))
      .filter(({ language, marker = '' }) => {
        if (language !== 'sh') return true;
        const by = /^run by (\S+)$/.exec(marker)?.[1];
        if (by !== undefined) return !existsSync(join(ROOT, by));
        // Without a marker test/e2e/manuals.test.ts runs it.
        return marker !== '' && !/^not run: .{8,}/.test(marker) && !marker.startsWith('generated:');
      })
      .map(({ line, marker }) => `line ${String(line)}: ${marker ?? ''}`);
    expect(unknown).toEqual([]);
  });

  test('every fence names its language', () => {
    const unnamed = fencesOf(manual).filter(({ language }) => language === '');
    expect(unnamed.map(({ line }) => line)).toEqual([]);
  });
});

const requests = manuals()
  .flatMap(fencesOf)
  .filter(({ marker }) => marker === 'request');
test.each(requests)('the request in $manual, line $line, is valid', ({ text }) => {
  const errors: ParseError[] = [];
  const request: unknown = parse(text, errors, { allowTrailingComma: true });
  expect(errors).toEqual([]);
  const { operator, params } = runRequestSchema.parse(request);
  const schemas = new Map<string, z.ZodType>([
    ['pod', podParamsSchema],
    ['command', commandParamsSchema],
  ]);
  expect(schemas.get(operator)?.safeParse(params).error).toBeUndefined();
});

test('the top manual is short', () => {
  expect(manualText('README.md').split('\n').length).toBeLessThanOrEqual(250);
});

test('every alert of the chart leads to its heading in the operating manual', () => {
  const rules = readFileSync(join(ROOT, 'helm/templates/monitoring.yaml'), 'utf8');
  const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name = '']) => name.toLowerCase());
  expect(alerts.length).toBeGreaterThan(5);
  const anchors = anchorsOf('helm/README.md');
  expect(alerts.filter((alert) => !anchors.has(alert))).toEqual([]);
  const runbooks = [...rules.matchAll(/runbook: 'helm\/README\.md#(\w+)'/g)].map(([, anchor]) => anchor);
  expect(runbooks).toEqual(alerts);
});

test('every generated part stands in the manual that its section names, and nowhere else', () => {
  const standing = manuals().flatMap((manual) =>
    [...manualText(manual).matchAll(/<!-- generated: (\S+) -->/g)].map(([, name = '']) => `${manual}: ${name}`),
  );
  const declared = Object.entries(sections()).flatMap(([manual, parts]) =>
    Object.keys(parts).map((name) => `${manual}: ${name}`),
  );
  expect(standing.sort()).toEqual(declared.sort());
});

test.each(manuals().filter((manual) => manual.startsWith('src/')))(
  '%s: every file and function in its tables exists',
  (manual) => {
    const missing = tableRowsOf(manual).flatMap((row) => {
      const files = codeIn(row.get('file'));
      const texts = files.map((file) => {
        const path = join(ROOT, /^(helm|test)\//.test(file) ? file : join(dirname(manual), file));
        return existsSync(path) && statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined;
      });
      const names = codeIn(row.get('function'));
      return [
        ...files.filter((_, at) => texts[at] === undefined),
        ...names.filter((name) => !texts.some((text) => text !== undefined && declares(text, name))),
      ];
    });
    expect(missing).toEqual([]);
  },
);

describe('the map of src', () => {
  test('every room and every file at the top of src has its row, and there are no other rows', () => {
    const listed = tableRowsOf(MAP).flatMap((row) => codeIn(row.get('room')));
    const files = globSync('**/*.ts', { cwd: join(ROOT, 'src') });
    const standing = new Set(files.map((file) => file.replace(/\/.*/, '/')));
    expect(listed.sort()).toEqual([...standing].sort());
  });
});

/** Whether a module declares `name` (`Class.method` too): as a function, class, constant, type, method or key of a table. */
function declares(source: string, name: string): boolean {
  return name.split('.').every((part) => {
    const word = part.replace(/[$#]/g, '\\$&');
    return [
      `\\b(?:function\\*?|const|let|class|interface|type) ${word}(?![\\w$])`,
      `^ +(?:(?:static|async|override|readonly|get|private) )*\\*?${word}(?:<[^>]*>)?\\??[(:]`,
      `^ +(?:readonly )?${word}(?: =|,)`,
    ].some((pattern) => new RegExp(pattern, 'm').test(source));
  });
}
