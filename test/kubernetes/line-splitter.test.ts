import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter, LineTooLong } from '../../src/kubernetes/line-splitter.ts';

/** Cuts bytes at the given places. */
const chunksAt = (bytes: Buffer, cuts: readonly number[]): readonly Buffer[] => {
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].toSorted(
    (a, b) => a - b,
  );
  return places.slice(1).map((to, index) => bytes.subarray(places[index], to));
};
const linesOf = (chunks: readonly Buffer[], maxBytes: number): readonly string[] => {
  const splitter = new LineSplitter(maxBytes, 'split');
  const lines = chunks.flatMap((chunk) => [...splitter.push(chunk)].map(String));
  const rest = splitter.rest();
  return rest === undefined ? lines : [...lines, rest.toString()];
};

test('lines do not depend on how their bytes arrived', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), fc.array(fc.nat(400)), (text, cuts) => {
      const bytes = Buffer.from(text);
      const expected = text.split('\n');
      if (expected.at(-1) === '') expected.pop();
      expect(linesOf(chunksAt(bytes, cuts), 10_000)).toEqual(expected);
    }),
  );
});

test('pieces of long lines do not depend on it either, and together are the line', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.array(fc.nat(900)),
      fc.integer({ min: 8, max: 40 }),
      (text, cuts, max) => {
        const bytes = Buffer.from(text.replaceAll('\n', ' '));
        const pieces = linesOf(chunksAt(bytes, cuts), max);
        expect(pieces).toEqual(linesOf([bytes], max));
        expect(pieces.join('')).toBe(bytes.toString());
        expect(pieces.every((piece) => Buffer.byteLength(piece) <= max)).toBe(true);
      },
    ),
  );
});

test('a line that is too long is an error where it must be whole', () => {
  const splitter = new LineSplitter(10, 'fail');
  expect(() => [...splitter.push(Buffer.from('01234567890'))]).toThrow(LineTooLong);
});
