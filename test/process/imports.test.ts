import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** Text of every file of src by its path below src. */
const FILES: ReadonlyMap<string, string> = new Map(
  readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, readFileSync(join(SRC, path), 'utf8')]),
);

/** Module → modules that it imports; type-only and dynamic imports count. Our own are named by their path. */
const IMPORTS: ReadonlyMap<string, readonly string[]> = new Map(
  [...FILES].map(([path, text]) => [
    path,
    ts
      .preProcessFile(text)
      .importedFiles.map(({ fileName }) => (fileName.startsWith('.') ? join(dirname(path), fileName) : fileName)),
  ]),
);

/** Groups of modules that import each other, directly or through others (Tarjan). */
function rings(graph: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): number => {
    const at = order.size;
    order.set(node, at);
    let lowest = at;
    open.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue;
      if (!order.has(next)) lowest = Math.min(lowest, visit(next));
      else if (open.includes(next)) lowest = Math.min(lowest, order.get(next) ?? at);
    }
    low.set(node, lowest);
    if (lowest === at) {
      const ring = open.splice(open.indexOf(node));
      if (ring.length > 1 || (graph.get(node) ?? []).includes(node)) found.push(ring);
    }
    return lowest;
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return found;
}

test('the search for import cycles finds one', () => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c', 'd']],
    ['c', ['a']],
    ['d', []],
  ]);
  expect(rings(graph)).toEqual([['a', 'b', 'c']]);
});

test('no modules of src import each other in a cycle, not even types', () => {
  expect(rings(IMPORTS)).toEqual([]);
});

/** Modules that core may import beside its own: deterministic, without I/O. Rooms of ours are fenced off by lint. */
const PURE = ['node:crypto', 'fastest-levenshtein', 'jsonc-parser', 'unidecode'];

test('core imports pure libraries only, and uses neither clock nor random numbers', () => {
  const impure = [...FILES].flatMap(([path, text]) => {
    if (!path.startsWith('core/')) return [];
    const libraries = (IMPORTS.get(path) ?? []).filter((name) => !FILES.has(name) && !PURE.includes(name));
    const calls =
      text.match(
        /\b(?:Date\.now|performance\.now|Math\.random|randomBytes|randomUUID|setTimeout|setInterval|new Date)\(\)?/g,
      ) ?? [];
    const ambient = calls.filter((call) => call !== 'new Date(');
    return [...libraries, ...ambient].map((name) => `${path}: ${name}`);
  });
  expect(impure).toEqual([]);
});

test('only adapters subscribe', () => {
  const adapters = /^(?:nats|kubernetes|local)\//;
  const subscribing = [...FILES].filter(([path, text]) => /\.subscribe\(/.test(text) && !adapters.test(path));
  expect(subscribing.map(([path]) => path)).toEqual([]);
});
