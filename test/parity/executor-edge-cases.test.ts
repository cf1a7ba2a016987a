import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NOT_APPLICABLE } from './executor-not-applicable.ts';

const TESTS = new URL('..', import.meta.url).pathname;

/** Airflow's executor has edge cases X1–X100; the title of a test starts with the number of the one that it tests. */
const EDGE_CASES = 100;

test('every edge case of the executor has a test of its number, or a reason', () => {
  const titles = readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .flatMap((file) => readFileSync(`${TESTS}/${file}`, 'utf8').match(/['"]X\d+\b/g) ?? [])
    .map((title) => Number(title.slice(2)));
  const tried = new Set(titles);
  const numbers = Array.from({ length: EDGE_CASES }, (_, index) => index + 1);
  expect(numbers.filter((number) => !tried.has(number) && NOT_APPLICABLE[number] === undefined)).toEqual([]);
  expect(Object.keys(NOT_APPLICABLE).filter((number) => tried.has(Number(number)))).toEqual([]);
});
