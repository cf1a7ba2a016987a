import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LogMerge } from '../../src/client/log-merge.ts';
import { shownText } from '../../src/client/log-lines.ts';
import { formatNanos, LOG_GAP_TEXT, type LogCursor, LogCursors } from '../../src/core/log/cursor.ts';

const START = 1_700_000_000_000_000_000n;

/** A log with many lines of the same nanosecond, and where each line stands. */
function aLog(steps: readonly number[]): { readonly text: string; readonly at: LogCursor }[] {
  const places = new LogCursors();
  let nanos = START;
  return steps.map((step, n) => {
    nanos += BigInt(step);
    const at = places.next(nanos);
    return { text: `${formatNanos(at.nanos)} line ${String(n)}\n`, at };
  });
}

const part = (log: ReturnType<typeof aLog>, from: number, to: number): string =>
  log
    .slice(from, to)
    .map(({ text }) => text)
    .join('');

describe('stored and live text', () => {
  test('make one log, each line once and in order, in any order of arrival', () => {
    const cuts = fc.array(fc.nat({ max: 40 }), { maxLength: 6 });
    const live = fc.array(fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 10 })), { maxLength: 6 });
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 40 }), cuts, live, (steps, ends, chunks) => {
        const log = aLog(steps);
        const merged = new LogMerge();
        const given: string[] = [];
        let stored = 0;
        const read = (to: number): void => {
          if (to <= stored) return;
          const text = part(log, stored, to);
          stored = to;
          for (const line of merged.stored({ attempt: 1, container: 'base', text })) given.push(line.text);
        };
        chunks.forEach(([from, length], n) => {
          const text = part(log, from, from + length);
          const after = from === 0 ? undefined : log[from - 1]?.at;
          if (text !== '' && (from === 0 || after !== undefined))
            merged.addLive({ attempt: 1, container: 'base', text, after });
          for (const line of merged.live()) given.push(line.text);
          read(Math.min(ends[n] ?? 0, log.length));
        });
        read(log.length);
        expect(given).toEqual(log.map((_, n) => `line ${String(n)}`));
      }),
      { numRuns: 500 },
    );
  });

  test('report live text that does not continue what was given', () => {
    const log = aLog([1, 1, 1, 1]);
    const merged = new LogMerge();
    expect(merged.takeMissed()).toBe(true);
    merged.addLive({ attempt: 1, container: 'base', text: part(log, 2, 3), after: log[1]?.at });
    expect([...merged.live()]).toEqual([]);
    expect(merged.takeMissed()).toBe(true);
    merged.addLive({ attempt: 1, container: 'base', text: part(log, 0, 3), after: undefined });
    expect([...merged.live()].map(({ text }) => text)).toEqual(['line 0', 'line 1', 'line 2']);
    expect(merged.takeMissed()).toBe(false);
  });

  test('give a gap’s mark and what a formatter made of a line with that line', () => {
    const log = aLog([1, 1]);
    const text = `${log[0]?.text ?? ''}more of it\n${formatNanos(START + 2n)} ${LOG_GAP_TEXT}\n${log[1]?.text ?? ''}`;
    const merged = new LogMerge();
    merged.addLive({ attempt: 1, container: 'base', text, after: undefined });
    const lines = [...merged.live(), ...merged.stored({ attempt: 1, container: 'base', text })];
    expect(lines.map((line) => line.text)).toEqual(['line 0', 'more of it', LOG_GAP_TEXT, 'line 1']);
  });

  test('of other attempts and containers, and notes of a worker, stay out', () => {
    const [line] = aLog([1]);
    const chunk = { attempt: 1, container: 'base', text: line?.text ?? '', after: undefined };
    const merged = new LogMerge({ attempt: 2, container: 'base' });
    merged.addLive(chunk);
    expect([...merged.live()]).toEqual([]);
    expect([...new LogMerge().stored({ ...chunk, container: 'pod.events' })]).toEqual([]);
    expect([...new LogMerge({ container: 'pod.events' }).stored({ ...chunk, container: 'pod.events' })]).toHaveLength(
      1,
    );
  });

  test('prefix each line with its container where requested, except ends of groups and a selected container', () => {
    const texts = ['one', '::group::two'];
    const text = texts.map((line, n) => `${formatNanos(START + BigInt(n))} ${line}\n`).join('');
    const shown = (merged: LogMerge) => [...merged.stored({ attempt: 1, container: 'side', text })].map(shownText);
    expect(shown(new LogMerge())).toEqual(texts);
    const named = new LogMerge();
    named.nameContainers();
    expect(shown(named)).toEqual(['[side] one', '::group::two']);
    named.addLive({ attempt: 1, container: 'base', text, after: undefined });
    expect([...named.live()].map(shownText)).toEqual(['[base] one', '::group::two']);
    const selected = new LogMerge({ container: 'side' });
    selected.nameContainers();
    expect(shown(selected)).toEqual(texts);
  });
});
