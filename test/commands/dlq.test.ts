import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { replayOf } from '../../src/core/run/replay.ts';
import { diagnosisOf } from '../../src/core/run/diagnosis.ts';
import { accepted, ended } from '../../src/core/run/state-changes.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { anInstallation, sharedNatsServer, type Installation } from '../support/nats-server.ts';
import { runReentry } from '../support/processes.ts';

const server = sharedNatsServer();
const why = diagnosisOf('DEAD_LETTERED', { message: 'its worker died 26 times' });
const request = runRequestSchema.parse({ params: { image: 'alpine' } });
const fence = { stream: 'RUNS', seq: 1, epoch: 1, by: 'w' };
const queued = accepted(request, { queue: 'gpu', fence, requestHash: 'h', now: 1 });
const over = ended(queued, { state: 'failed', diagnosis: why }, 2);

describe('what a replay is', () => {
  const letter = { sequence: 7, runId: 'r' };
  test('a new run of the same request, named by the letter', () => {
    expect(replayOf(letter, over, request, undefined, 'default')).toMatchObject({
      kind: 'run',
      runId: 'r-replay-7',
      queue: 'gpu',
      request: { params: request.params, annotations: { 'reentry.dev/replay-of': 'r' } },
    });
  });
  test('never while the run continues', () => {
    expect(replayOf(letter, queued, request, undefined, 'default')).toEqual({ kind: 'running', phase: 'Queued' });
  });
  test('not of a run that continued and ended: it would be done twice', () => {
    const outcomes = [
      { state: 'succeeded' },
      { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED') },
      { state: 'failed', diagnosis: diagnosisOf('EXPIRED') },
    ] as const;
    const replays = outcomes.map((outcome) =>
      replayOf(letter, ended(queued, outcome, 2), request, undefined, 'default'),
    );
    expect(replays).toEqual(['Succeeded', 'Cancelled', 'Failed'].map((phase) => ({ kind: 'ended', phase })));
  });
  test('not possible without a request', () => {
    expect(replayOf(letter, over, undefined, undefined, 'default')).toEqual({ kind: 'lost' });
  });
  test('a run id of any text and length gives a short token', () => {
    const replay = replayOf({ sequence: 7, runId: 'ü.'.repeat(30) }, over, request, undefined, 'default');
    expect(replay.kind === 'run' ? replay.runId : '').toMatch(/^[0-9a-f]{16}-replay-7$/);
  });
});

describe('reentry dlq', () => {
  let installation: Installation;
  let broker: Broker;
  const cli = (...args: readonly string[]) =>
    runReentry(['dlq', ...args], {
      REENTRY_NATS_URL: server.url(),
      REENTRY_SUBJECT_ROOT: installation.options.root ?? '',
      REENTRY_ASSET_PREFIX: installation.options.assetPrefix ?? '',
    });

  beforeAll(async () => {
    installation = await anInstallation(server.url(), { workerQueues: ['default', 'gpu'] });
    broker = await installation.broker();
    for (const runId of ['first', 'second', 'going']) {
      const run = { tenant: 'sales', runId };
      await broker.requests.claim(run, request);
      await broker.runs.write(run, { ...(runId === 'going' ? queued : over), op: runId }, 0);
      await broker.publish.deadLetter('step', run, new TextEncoder().encode('{"v":1}'), why, {
        stream: 'STEPS',
        seq: 1,
      });
    }
    const nonsense = new TextEncoder().encode('nonsense');
    await broker.publish.deadLetter('run', { tenant: 'other', runId: 'x' }, nonsense, why, { stream: 'RUNS', seq: 1 });
    // Its end was not written: a cancel came first, or another owner.
    const went = { tenant: 'late', runId: 'went-on' };
    await broker.requests.claim(went, request);
    await broker.runs.write(went, { ...ended(queued, { state: 'succeeded' }, 2), op: 'went' }, 0);
    await broker.publish.deadLetter('step', went, new TextEncoder().encode('{"v":1}'), why, {
      stream: 'STEPS',
      seq: 2,
    });
    return () => installation[Symbol.asyncDispose]();
  });

  test('lists letters by page and by tenant', async () => {
    const pageSchema = z.looseObject({
      letters: z.array(z.looseObject({ runId: z.string() })),
      next: z.number().optional(),
    });
    const page = async (...args: readonly string[]) =>
      pageSchema.parse(JSON.parse((await cli('list', '--json', ...args)).stdout));
    const first = await page('--limit', '3');
    expect(first).toMatchObject({ letters: [{ runId: 'first' }, { runId: 'second' }, { runId: 'going' }], next: 3 });
    expect(await page('--after', '3', '--limit', '1')).toMatchObject({
      letters: [{ runId: 'x', tenant: 'other', kind: 'run' }],
    });
    expect((await page('--tenant', 'other')).letters).toHaveLength(1);
  });

  test('shows why, the state and the request', async () => {
    const shown = await cli('show', '1', '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({
      phase: 'Failed',
      diagnosis: { code: 'DEAD_LETTERED' },
      request: { params: { image: 'alpine' } },
      message: '{"v":1}',
    });
    expect((await cli('show', '1')).stdout).toContain('its worker died 26 times');
    expect(await cli('show', '99')).toMatchObject({ code: 2, stdout: '' });
    expect((await cli('show', 'first')).code).toBe(2);
  });

  test('a letter replayed twice is one run, on the queue of the old one', async () => {
    const once = await cli('replay', '1', '--json');
    expect(JSON.parse(once.stdout)).toMatchObject({ runId: 'first-replay-1', queue: 'gpu', duplicate: false });
    expect(JSON.parse((await cli('replay', '1', '--json')).stdout)).toMatchObject({ duplicate: true });
    const { stdout } = await cli('list', '--json');
    expect(stdout).toContain('"first"'); // The letter is not deleted: it is history.
  });

  test('a letter whose run went on and ended is marked, and not replayed', async () => {
    const marks = z.object({ letters: z.array(z.looseObject({ runId: z.string() })) });
    const { letters } = marks.parse(JSON.parse((await cli('list', '--json')).stdout));
    expect(letters.map(({ runId, wentOn }) => [runId, wentOn])).toEqual([
      ['first', undefined],
      ['second', undefined],
      ['going', 'Queued'],
      ['x', undefined],
      ['went-on', 'Succeeded'],
    ]);
    expect((await cli('list')).stdout).toContain('continued: Succeeded');
    expect(JSON.parse((await cli('show', '5', '--json')).stdout)).toMatchObject({ wentOn: 'Succeeded' });
    const shown = (await cli('show', '5')).stdout;
    expect(shown).toContain('not possible: the run continued and ended as Succeeded');
    expect(shown).toContain('its worker died 26 times');
    const replayed = await cli('replay', '5');
    expect(replayed).toMatchObject({ code: 2, stdout: '' });
    expect(replayed.stderr).toContain('continued and ended as Succeeded');
    expect(replayed.stderr).toContain('reentry retry');
    expect(await broker.runs.read({ tenant: 'late', runId: 'went-on-replay-5' })).toBeUndefined();
  });

  test('no replay while the run continues, and none without a request', async () => {
    const going = await cli('replay', '3');
    expect(going.code).toBe(2);
    expect(going.stderr).toContain('has not ended');
    expect((await cli('replay', '4')).stderr).toContain('retention');
  });

  test('prints names and messages of tenants without control characters', async () => {
    const hostile = { tenant: '\u001b]0;mine\u0007', runId: '\u001b[2Jx\u202e' };
    await broker.publish.deadLetter('run', hostile, new TextEncoder().encode('\u001b[31m\u009b1m\nend'), why, {
      stream: 'RUNS',
      seq: 2,
    });
    const { stdout: list } = await cli('list');
    expect(list).toContain('\\u001b[2Jx\\u202e');
    expect(list).toContain('\\u001b]0;mine\\u0007');
    const letter = /│ (\d+) +│ run +│ \\u001b/.exec(list)?.[1] ?? '';
    const { stdout: shown } = await cli('show', letter);
    expect(shown).toContain('\\u001b[31m\\u009b1m\nend');
    const { stderr: refused } = await cli('replay', letter);

    expect(list + shown + refused).not.toMatch(/[\u001b\u009b\u0007\u202e]/);
  });
});
