import { describe, expect, test } from 'vitest';
import { refusal, streamRefusal } from '../../src/kubernetes/errors.ts';

const attempted = { what: 'create pod a/b', connection: 'c', writes: true };
const NOW = Date.UTC(2026, 2, 4, 5, 6, 7);

const asked = (retryAfter: string | undefined, body = ''): number | undefined =>
  refusal(attempted, { status: 429, body, retryAfter }, NOW).retryAfterMs;
const status = (retryAfterSeconds: unknown): string =>
  JSON.stringify({ kind: 'Status', details: { retryAfterSeconds } });

describe('how long a refusal asks to wait', () => {
  test.each([
    ['0', 0],
    ['7', 7_000],
    [' 7 ', 7_000],
    ['Wed, 04 Mar 2026 05:06:17 GMT', 10_000],
    ['Wednesday, 04-Mar-26 05:06:17 GMT', 10_000],
    ['Wed Mar  4 05:06:17 2026', 10_000],
    ['Wed, 04 Mar 2026 05:06:00 GMT', 0],
  ])('%j is understood', (header, ms) => {
    expect(asked(header)).toBe(ms);
  });

  test.each(['3600', '2147484', '99999999999999999999', '9'.repeat(400), 'Thu, 05 Mar 2026 05:06:07 GMT'])(
    '%j is a minute',
    (header) => {
      expect(asked(header)).toBe(60_000);
    },
  );

  test.each([
    undefined,
    '',
    ' ',
    '-1',
    '+1',
    '1.5',
    '1e3',
    '0x10',
    'Infinity',
    'soon',
    '7 seconds',
    '2026-03-04T05:06:17Z',
    'Wed, 99 Mar 2026 05:06:17 GMT',
  ])('%j is ignored', (header) => {
    expect(asked(header)).toBeUndefined();
  });

  test('the Status counts when the header is ignored, within the same bounds', () => {
    expect(asked(undefined, status(5))).toBe(5_000);
    expect(asked('soon', status(5))).toBe(5_000);
    expect(asked('3', status(5))).toBe(3_000);
    expect(asked(undefined, status(3_600))).toBe(60_000);
    for (const odd of [-1, 1.5, '5', null, 1e400]) expect(asked(undefined, status(odd))).toBeUndefined();
    const event = { code: 429, details: { retryAfterSeconds: 1e9 } };
    expect(streamRefusal(attempted, event).retryAfterMs).toBe(60_000);
  });
});
