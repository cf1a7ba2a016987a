import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dec, enc, isTokenText } from '../../src/wire/tokens.ts';

describe('tokens', () => {
  test('any text comes back from its token, and the token is one of subject and key', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }), (text) => {
        // Lone surrogates have no UTF-8: they are not text that can travel.
        fc.pre(isTokenText(text));
        const token = enc(text);
        expect(token).toMatch(/^(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+$/);
        expect(dec(token)).toBe(text);
      }),
    );
  });

  test('a lone surrogate is no text: two such ids would share a token', () => {
    expect(enc('a\uD800')).toBe(enc('a\uDBFF'));
    expect(isTokenText('a\uD800')).toBe(false);
  });

  test('two texts never share a token', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (a, b) => {
        fc.pre(a !== b && a.isWellFormed() && b.isWellFormed());
        expect(enc(a)).not.toBe(enc(b));
      }),
    );
  });

  test('every decodable token is canonical', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9=_-]{1,40}$/), (token) => {
        const text = dec(token);
        if (text !== undefined) expect(enc(text)).toBe(token);
      }),
    );
  });

  test.each(['', 'a.b', 'a b', 'a*', '=2e', '=41', '=', '=G0', '=FF', 'x'.repeat(129)])('%j is refused', (token) => {
    expect(dec(token)).toBeUndefined();
  });

  test.each([
    ['a.b', 'a=2Eb'],
    ['=', '=3D'],
    ['ü', '=C3=BC'],
    ['sales_2026-01-01T00:00', 'sales_2026-01-01T00=3A00'],
  ])('%j is %s', (text, token) => {
    expect(enc(text)).toBe(token);
  });
});
