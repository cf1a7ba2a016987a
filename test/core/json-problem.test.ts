import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonProblem } from '../../src/core/json-problem.ts';

describe('a text that is not JSON', () => {
  test.each([
    ['{"a":1,}', 1, 8, 'property name expected'],
    ['[1,2', 1, 5, 'close bracket expected'],
    ['', 1, 1, 'value expected'],
    ['{\n "a": 1\n "b": 2}', 3, 2, 'comma expected'],
    ['["tab\there"]', 1, 2, 'invalid character'],
    ['["\\x"]', 1, 2, 'invalid escape character'],
    ['[1]]', 1, 4, 'end of file expected'],
    ['{"a": 1} // b', 1, 10, 'invalid comment token'],
  ])('%j is reported with position and kind', (text, line, column, what) => {
    expect(jsonProblem(text)).toMatchObject({ line, column, what });
  });

  test('may be nested more deeply than the parser can follow', () => {
    expect(jsonProblem('['.repeat(200_000))).toMatchObject({ line: 1, what: 'nested too deeply' });
  });

  test('has a problem exactly when the engine refuses it, and the parser finds its kind', () => {
    const damaged = fc.tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2 })).map(([json, n, bit]) => {
      const cut = json.length === 0 ? 0 : n % json.length;
      return json.slice(0, cut) + bit + json.slice(cut + 1);
    });
    fc.assert(
      fc.property(damaged, (text) => {
        const problem = jsonProblem(text);
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        expect(problem === undefined).toBe(valid);
        if (problem !== undefined) expect(problem.offset).toBeLessThanOrEqual(text.length);
        expect(problem?.what).not.toBe('invalid');
      }),
      { numRuns: 500 },
    );
  });
});
