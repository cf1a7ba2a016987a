/** Every edge case of the specification (pod-operator §10, E1–E114) has a test: by its number in a title, by a test of another name, or not at all, and why. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const TESTS = new URL('..', import.meta.url).pathname;

/** Shown by tests that have names of their own. */
const BY_NAME: Readonly<Record<number, readonly [file: string, title: string]>> = {
  77: ['kubernetes/lines.test.ts', 'lines do not depend on how their bytes arrived'],
  86: ['operator/result.test.ts', 'that is not there or empty leaves a success without result'],
  94: ['operator/operator.test.ts', 'after an error looks at the pod itself and waits again, three times'],
  97: ['operator/operator.test.ts', 'while the pod runs stores each line once, and keeps the deadlines'],
};

/** Not ours, and why. */
const NOT_OURS: Readonly<Record<number, string>> = {
  78: 'no stream is read on for two minutes after its end: it ends with its container, and a silent one is connected anew (kubernetes/logs.test.ts)',
  79: 'there is no cached pod beside a log stream: nothing asks the API while lines come',
  89: 'a log is read to its end with a cursor of nanoseconds; nothing has to stop before the current second',
  96: 'a trigger reads no pod: a watch tells it, and a failed GET tells nothing',
  109: 'credentials are configuration of the process, by named connection; a request has none to weigh against others',
  110: 'as 109: the path of a kubeconfig is a field of the connection',
  111: 'as 109: a kubeconfig never travels as text',
  112: 'as 109: the context is a field of the connection',
  113: 'as 109: a connection says `inCluster`, a kubeconfig or neither; what it then finds is the adapter’s own test (contracts/)',
  114: 'TLS verification is the kubeconfig’s to say; keep-alive is always on',
};

function titles(): ReadonlySet<number> {
  const found = new Set<number>();
  for (const file of readdirSync(TESTS, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.test.ts') || file.endsWith('edge-cases.test.ts')) continue;
    const text = readFileSync(`${TESTS}/${file}`, 'utf8');
    // Titles are texts that begin with the numbers.
    for (const [, numbers = ''] of text.matchAll(/['`](E\d{1,3}(?: E\d{1,3})*)\b/g))
      for (const [, number] of numbers.matchAll(/E(\d+)/g)) found.add(Number(number));
  }
  return found;
}

test('every edge case is shown or has its reason', () => {
  const shown = titles();
  const all = Array.from({ length: 114 }, (_, n) => n + 1);
  const missing = all.filter((number) => !shown.has(number) && !(number in BY_NAME) && !(number in NOT_OURS));
  expect(missing).toEqual([]);
  expect(Object.keys(NOT_OURS).filter((number) => shown.has(Number(number)))).toEqual([]);
});

test.each(Object.entries(BY_NAME))('E%s has its test', (_, [file, title]) => {
  expect(readFileSync(`${TESTS}/${file}`, 'utf8')).toContain(title);
});
