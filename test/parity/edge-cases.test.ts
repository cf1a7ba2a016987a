/**
 * Airflow's operator has edge cases E1–E114. The title of a test starts with the numbers of those that it tests. Each number has such a test, a
 * test without a number, or a reason why it does not apply.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const TESTS = new URL('..', import.meta.url).pathname;

/** Edge cases tested by tests without a number. */
const BY_NAME: Readonly<Record<number, readonly [file: string, title: string]>> = {
  77: ['kubernetes/line-splitter.test.ts', 'lines do not depend on how their bytes arrived'],
  86: ['operator/result.test.ts', 'that is missing or empty leaves a success without result'],
  94: ['operator/pod-operator.test.ts', 'after an error reads the pod itself and waits again, three times'],
  97: ['operator/pod-operator.test.ts', 'while the pod runs stores each line once, and leaves the deadlines unchanged'],
};

/** Edge cases that do not apply, and why. */
const NOT_APPLICABLE: Readonly<Record<number, string>> = {
  78: 'a stream is not read for two minutes after its end: it ends with its container, and a silent one is reconnected (kubernetes/logs.test.ts)',
  79: 'there is no cached pod beside a log stream: the API is not called while lines arrive',
  89: 'a log is read to its end with a nanosecond cursor; reading need not stop before the current second',
  96: 'a trigger does not read pods: it receives them from a watch, and a failed GET changes nothing',
  109: 'credentials are configuration of the process, by named connection; a request has none that could conflict',
  110: 'as 109: the path of a kubeconfig is a field of the connection',
  111: 'as 109: a kubeconfig is never sent as text',
  112: 'as 109: the context is a field of the connection',
  113: 'as 109: a connection sets `inCluster`, a kubeconfig or neither; contracts/ tests what the adapter does with it',
  114: 'the kubeconfig decides about TLS verification; keep-alive is always on',
};

function titles(): ReadonlySet<number> {
  const found = new Set<number>();
  for (const file of readdirSync(TESTS, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.test.ts') || file.endsWith('edge-cases.test.ts')) continue;
    const text = readFileSync(`${TESTS}/${file}`, 'utf8');
    // Titles start with the numbers.
    for (const [, numbers = ''] of text.matchAll(/['`](E\d{1,3}(?: E\d{1,3})*)\b/g))
      for (const [, number] of numbers.matchAll(/E(\d+)/g)) found.add(Number(number));
  }
  return found;
}

test('every edge case has a test or a reason', () => {
  const shown = titles();
  const all = Array.from({ length: 114 }, (_, n) => n + 1);
  const missing = all.filter((number) => !shown.has(number) && !(number in BY_NAME) && !(number in NOT_APPLICABLE));
  expect(missing).toEqual([]);
  expect(Object.keys(NOT_APPLICABLE).filter((number) => shown.has(Number(number)))).toEqual([]);
});

test.each(Object.entries(BY_NAME))('E%s has its test', (_, [file, title]) => {
  expect(readFileSync(`${TESTS}/${file}`, 'utf8')).toContain(title);
});
