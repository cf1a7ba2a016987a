import { describe, expect, test } from 'vitest';
import { isRecord } from '../../src/core/json.ts';
import { PHASES } from '../../src/wire/run-state.ts';
import { EVENT_TYPES, LANES } from '../../src/wire/subjects.ts';
import { corpus, CORPUS_SCHEMAS } from '../support/corpus.ts';

const recorded = corpus();

describe('what was recorded', () => {
  test.each(recorded)('$name is read, and has the same meaning when written again', ({ kind, json }) => {
    const { schema, strict } = CORPUS_SCHEMAS[kind];
    const once: unknown = schema.parse(json);
    // Strict ones gain their defaults; what was there stays.
    if (strict) expect(once).toMatchObject(isRecord(json) ? json : {});
    else expect(once).toEqual(json);
    expect(schema.parse(JSON.parse(JSON.stringify(once)))).toEqual(once);
  });

  test.each(recorded.filter(({ kind }) => !CORPUS_SCHEMAS[kind].strict))(
    '$name of the next version is read, and keeps unknown fields',
    ({ kind, json }) => {
      const next = { ...(isRecord(json) ? json : {}), v: 2, fromTheNextVersion: { a: [1] } };
      const read: unknown = CORPUS_SCHEMAS[kind].schema.parse(next);
      expect(read).toEqual(next);
    },
  );

  test.each(recorded.filter(({ json }) => isRecord(json) && 'v' in json))(
    '$name of two versions on is refused, never misread',
    ({ kind, json }) => {
      const far = { ...(isRecord(json) ? json : {}), v: 3 };
      expect(CORPUS_SCHEMAS[kind].schema.safeParse(far).success).toBe(false);
    },
  );

  test('has an example of each kind, phase, event and lane', () => {
    expect(new Set(recorded.map(({ kind }) => kind))).toEqual(new Set(Object.keys(CORPUS_SCHEMAS)));
    const of = (kind: string, field: string) =>
      new Set(recorded.flatMap(({ kind: one, json }) => (one === kind && isRecord(json) ? [String(json[field])] : [])));
    expect([...of('state', 'phase')].sort()).toEqual([...PHASES].sort());
    expect([...of('event', 'type')].sort()).toEqual(EVENT_TYPES.map((type) => `dev.reentry.run.${type}.v1`).sort());
    for (const lane of LANES) expect(recorded.map(({ kind }) => kind)).toContain(lane);
  });
});
