import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isBehind, type LogCursor } from '../../../src/core/log/cursor.ts';
import { LogChunk } from '../../../src/operator/logs/chunk.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../../src/wire/streams.ts';

const textOf = (chunk: LogChunk): string => new TextDecoder().decode(chunk.bytes);

/** Lines in order, several of one nanosecond among them. */
const someLines = fc
  .array(fc.record({ later: fc.boolean(), text: fc.string({ unit: 'grapheme', maxLength: 400 }) }))
  .map((drawn) => {
    let at: LogCursor = { nanos: 5n, lines: 0 };
    return drawn.map(({ later, text }) => {
      at = later ? { nanos: at.nanos + 1n, lines: 1 } : { nanos: at.nanos, lines: at.lines + 1 };
      return { at, text: `${text}\n` };
    });
  });

test('has the lines after a cursor, in order, and is empty once cleared', () => {
  fc.assert(
    fc.property(someLines, fc.nat(), someLines, (lines, pick, more) => {
      const chunk = new LogChunk();
      for (const { at, text } of lines) chunk.push(at, text, Buffer.byteLength(text));
      expect(textOf(chunk)).toBe(lines.map(({ text }) => text).join(''));
      expect(chunk.to).toEqual(lines.at(-1)?.at);

      const cursor = lines[pick % Math.max(1, lines.length)]?.at;
      chunk.dropBehind(cursor);
      const included = lines.filter(({ at }) => !isBehind(at, cursor));
      expect(textOf(chunk)).toBe(included.map(({ text }) => text).join(''));
      expect(chunk.to).toEqual(included.at(-1)?.at);

      chunk.clear();
      for (const { at, text } of more) chunk.push(at, text, Buffer.byteLength(text));
      expect(textOf(chunk)).toBe(more.map(({ text }) => text).join(''));
    }),
  );
});

test('has room up to the limit of a stored chunk, and always for one line', () => {
  const chunk = new LogChunk();
  expect(chunk.hasRoomFor(MAX_LOG_CHUNK_BYTES + 1)).toBe(true);
  const line = 'x'.repeat(MAX_LOG_CHUNK_BYTES - 10);
  chunk.push({ nanos: 1n, lines: 1 }, line, line.length);
  expect(chunk.hasRoomFor(10)).toBe(true);
  expect(chunk.hasRoomFor(11)).toBe(false);
});
