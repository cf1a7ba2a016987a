import { readdirSync, readFileSync } from 'node:fs';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { DEFAULTS } from '../support/defaults.ts';

const SRC = new URL('../../src/', import.meta.url);

/** Names by which a setting that has a default is known: its own, and those of the settings made of it for each room. */
const NAMES = new Set(
  [DEFAULT_CONFIG, ...Object.values(DEFAULTS)].flatMap((settings) =>
    Object.entries(settings).flatMap(([name, value]: [string, unknown]) => (value === undefined ? [] : [name])),
  ),
);

/** Whether an expression is written out: a literal, or made of literals alone. */
function isWritten(node: ts.Expression): boolean {
  if (ts.isPrefixUnaryExpression(node)) return isWritten(node.operand);
  if (ts.isParenthesizedExpression(node)) return isWritten(node.expression);
  if (ts.isBinaryExpression(node)) return isWritten(node.left) && isWritten(node.right);
  if (ts.isArrayLiteralExpression(node)) return node.elements.length > 0 && node.elements.every(isWritten);
  if (node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword) return true;
  return ts.isLiteralExpression(node) && node.getText() !== "''";
}

/** The last name of `settings.retentionMs`, `retentionMs` or `this.#options.retentionMs`. */
function lastName(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) return node.name.text.replace('#', '');
  return ts.isIdentifier(node) ? node.text : undefined;
}

/** What stands in for a setting that is not given: `x ?? 5_000`, `x || 5_000`, `{ x = 5_000 }`. */
function fallbacks(file: string, source: string): readonly string[] {
  const found: string[] = [];
  const root = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
  const visit = (node: ts.Node): void => {
    let name: string | undefined;
    let value: ts.Expression | undefined;
    if (
      ts.isBinaryExpression(node) &&
      [ts.SyntaxKind.QuestionQuestionToken, ts.SyntaxKind.BarBarToken].includes(node.operatorToken.kind)
    )
      [name, value] = [lastName(node.left), node.right];
    if (ts.isBindingElement(node)) [name, value] = [lastName(node.propertyName ?? node.name), node.initializer];
    if (ts.isParameter(node)) [name, value] = [lastName(node.name), node.initializer];
    if (name !== undefined && NAMES.has(name) && value !== undefined && isWritten(value)) {
      const { line } = root.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${file}:${line + 1} ${node.getText()}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(root);
  return found;
}

/** Sources without any of these beside a name have no such form; parsing them all takes a second. */
const CANDIDATE = new RegExp(String.raw`\b(?:${[...NAMES].join('|')})\b\s*(?::[^,;=]*)?(?:\?\?|\|\||=(?![=>]))`);

test('the search finds the forms in which a default is written a second time', () => {
  const source = `
    const a = settings.retentionMs ?? 7 * 24 * 3_600_000;
    const b = this.#options.publishRetries ?? -1;
    function c({ maxInFlight = 64, other = 64 }) {}
    const { podSecurity: level = 'baseline' } = options;
    const d = queues ?? ['default'];
    const e = limit ?? 5_000, f = keepPodMs ?? DEFAULT, g = tenant ?? '';
  `;
  for (const line of source.trim().split('\n').slice(0, 5)) expect(line).toMatch(CANDIDATE);
  expect(fallbacks('f.ts', source).map((found) => found.replace(/^\S+ /, ''))).toEqual([
    'settings.retentionMs ?? 7 * 24 * 3_600_000',
    'this.#options.publishRetries ?? -1',
    'maxInFlight = 64',
    "podSecurity: level = 'baseline'",
    "queues ?? ['default']",
  ]);
});

test('no default of a setting is written outside config.ts', () => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && file !== 'config.ts',
  );
  const found = files.flatMap((file) => {
    const source = readFileSync(new URL(file, SRC), 'utf8');
    return CANDIDATE.test(source) ? fallbacks(file, source) : [];
  });
  expect(found).toEqual([]);
});
