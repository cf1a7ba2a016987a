import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatNanos } from '../../src/core/log/cursor.ts';
import { KubernetesError } from '../../src/errors.ts';
import type { LogCursor } from '../../src/ports/stores.ts';
import { podObject, type ScriptedServer, scriptedServer, sendJson } from '../support/scripted-server.ts';

const START = 1_700_000_000_000_000_000n;
const POD = { connection: 'scripted', namespace: 'ns', name: 'pod', uid: 'uid' };

/** What the scripted node has, and how it breaks off: after so many bytes, quietly or not; then, when all cuts are used up, never. */
let written: readonly { readonly nanos: bigint; readonly bytes: Buffer }[] = [];
let cuts: { readonly afterBytes: number; readonly how: 'end' | 'reset' }[] = [];
let server: ScriptedServer;

beforeAll(async () => {
  server = await scriptedServer(({ path, query }, response) => {
    if (!path.endsWith('/log')) {
      const status = { phase: cuts.length > 0 ? 'Running' : 'Succeeded' };
      sendJson(response, 200, podObject('pod', 'uid', '1', { status }));
      return;
    }
    // As a kubelet does: whole seconds, each line compared on its own.
    const since = BigInt(Date.parse(query.get('sinceTime') ?? '1970-01-01T00:00:00Z')) * 1_000_000n;
    const text = Buffer.concat(written.filter(({ nanos }) => nanos >= since).map(({ bytes }) => bytes));
    const cut = cuts.shift();
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.flushHeaders();
    if (cut === undefined || cut.afterBytes >= text.length) response.end(text);
    else if (cut.how === 'end') response.end(text.subarray(0, cut.afterBytes));
    else response.write(text.subarray(0, cut.afterBytes), () => response.destroy());
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Lines in the order written. A step of 0 is the same nanosecond; a negative step is a second stream whose clock is slightly behind. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.bigInt({ min: 0n, max: 3n }) },
  { weight: 2, arbitrary: fc.bigInt({ min: 1_000_000n, max: 2_500_000_000n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: -900_000n, max: -1n }) },
);
const content = fc.oneof(
  fc.string({ maxLength: 12, unit: 'binary' }).map((text) => Buffer.from(text.replaceAll('\n', ''))),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 10))),
  // Longer than a piece: comes in several.
  fc.integer({ min: 60, max: 200 }).map((length) => Buffer.alloc(length, 'x')),
);
const aLog = fc.array(fc.tuple(step, content), { minLength: 1, maxLength: 30 }).map((lines) => {
  let nanos = START;
  return lines.map(([by, text]) => {
    nanos += by;
    return { nanos, bytes: Buffer.concat([Buffer.from(`${formatNanos(nanos)} `), text, Buffer.from('\n')]) };
  });
});
const someCuts = fc.array(
  fc.record({ afterBytes: fc.nat({ max: 1_500 }), how: fc.constantFrom('end' as const, 'reset' as const) }),
  { maxLength: 6 },
);

/** All that a reader gets who comes back until there is no more; `leaves`: after how many lines it goes away each time. */
async function readAll(leaves: readonly number[], follow: boolean): Promise<readonly string[]> {
  const cluster = await server.cluster({ logLineBytes: 100, backoffMs: [1, 2] });
  const texts: string[] = [];
  let from: LogCursor | undefined;
  for (let turn = 0; ; turn += 1) {
    let left = leaves[turn] ?? Infinity;
    const isLast = cuts.length === 0;
    try {
      for await (const line of cluster.logs(POD, 'base', { from, follow })) {
        expect(line.gap).toBeUndefined();
        texts.push(line.text);
        from = line.at;
        if (--left < 0) break;
      }
      if (isLast && left >= 0) return texts;
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error;
    }
  }
}

test.each([false, true])('each line comes once, whatever is cut and however often (follow: %s)', async (follow) => {
  await fc.assert(
    fc.asyncProperty(aLog, someCuts, fc.array(fc.nat({ max: 8 }), { maxLength: 6 }), async (log, some, leaves) => {
      written = log;
      cuts = [];
      const whole = await readAll([], false);
      cuts = [...some];
      expect(await readAll(leaves, follow)).toEqual(whole);
      // Pieces of a line joined, what came is what was written.
      const sent = log.map(({ bytes }) => bytes.subarray(31, -1).toString('utf8')).join('');
      if (!sent.includes('\ufffd')) expect(whole.join('')).toBe(sent);
    }),
    { numRuns: 150 },
  );
});
