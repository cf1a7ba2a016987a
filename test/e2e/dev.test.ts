import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type NatsConnection } from 'nats';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type ReentryProcess, runReentry, startReentry } from '../support/processes.ts';

/** Tests through the public contract only: subjects and JSON on a plain NATS connection. */
const readySchema = z.strictObject({ natsUrl: z.string(), kubeconfig: z.string(), ready: z.literal(true) });
const eventSchema = z.looseObject({
  specversion: z.literal('1.0'),
  id: z.string(),
  type: z.literal('dev.reentry.run.completed.v1'),
  source: z.literal('reentry/default'),
  subject: z.string(),
  data: z.looseObject({
    state: z.string(),
    result: z.unknown().optional(),
    exitCode: z.number().optional(),
    diagnosis: z
      .looseObject({
        code: z.string(),
        problems: z.array(z.looseObject({ path: z.string(), message: z.string() })).optional(),
      })
      .optional(),
  }),
});
type Completed = z.infer<typeof eventSchema>;

let directory: string;
let dev: ReentryProcess;
let nats: NatsConnection;
let ready: z.infer<typeof readySchema>;
const completed: Completed[] = [];
const environment = (): Record<string, string> => ({ REENTRY_CACHE_FOLDER: join(directory, 'cache') });
const cliEnvironment = (): Record<string, string> => {
  const server = process.env['REENTRY_NATS_SERVER'];
  return { ...environment(), ...(server === undefined ? {} : { REENTRY_NATS_SERVER: server }) };
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-dev-'));
  await mkdir(join(directory, 'templates'));
  const template = {
    spec: { containers: [{ name: 'base', image: 'alpine', command: ['sh', '-c', 'echo templated'] }] },
  };
  await writeFile(join(directory, 'templates', 'small.yaml'), JSON.stringify(template));
  dev = startReentry(['dev', '--json', '--template-folder', 'templates'], cliEnvironment(), directory);
  await vi.waitUntil(() => dev.stdout().includes('\n') || dev.child.exitCode !== null, {
    timeout: 110_000,
    interval: 50,
  });
  expect(dev.stderr()).toBe('');
  ready = readySchema.parse(JSON.parse(dev.stdout()));
  nats = await connect({ servers: ready.natsUrl });
  const feed = nats.subscribe('reentry.v1.ev.default.*.completed');
  void (async () => {
    for await (const message of feed) completed.push(eventSchema.parse(JSON.parse(message.string())));
  })();
  await nats.flush();
});

afterAll(async () => {
  await nats.close();
  dev.kill('SIGTERM');
  expect(await dev.ended).toBe(0);
  await rm(directory, { recursive: true, force: true });
});

const publish = (runId: string, body: string): void => {
  nats.publish(`reentry.v1.run.default.default.${runId}`, body);
};
/** The completed event of a run, once the broker has no message of it left. */
async function endOf(runId: string): Promise<Completed> {
  await expect
    .poll(() => completed.filter(({ subject }) => subject === runId).length, { timeout: 60_000 })
    .toBeGreaterThan(0);
  const manager = await nats.jetstreamManager();
  // Exactly one is stored: later readers get the same.
  const stored = await manager.streams.info('REENTRY_EVENTS', {
    subjects_filter: `reentry.v1.ev.default.${runId}.completed`,
  });
  expect(stored.state.subjects).toEqual({ [`reentry.v1.ev.default.${runId}.completed`]: 1 });
  const [event] = completed.filter(({ subject }) => subject === runId);
  if (event === undefined) throw new Error('unreachable');
  return event;
}
const pod = (script: string, more: object = {}): string =>
  JSON.stringify({ params: { image: 'alpine', cmds: ['sh', '-c'], arguments: [script], ...more } });

describe('a run submitted by a plain publish', () => {
  test('ends in one completed event with exit code and result', async () => {
    publish('plain', pod(`echo '{"rows": 7}' > /dev/termination-log`, { doXcomPush: true, xcomMode: 'message' }));
    const { data, id } = await endOf('plain');
    expect(data).toMatchObject({ state: 'succeeded', exitCode: 0, result: { rows: 7 } });
    expect(id).toMatch(/^default\/plain\/\d+\/completed$/);
  });

  test('submitted three times, runs once', async () => {
    for (let copy = 0; copy < 3; copy += 1) publish('thrice', pod('true'));
    expect((await endOf('thrice')).data.state).toBe('succeeded');
    const manager = await nats.jetstreamManager();
    await expect.poll(async () => (await manager.streams.info('REENTRY_RUNS')).state.messages).toBe(0);
    const launched = 'reentry.v1.ev.default.thrice.launched';
    const { state } = await manager.streams.info('REENTRY_EVENTS', { subjects_filter: launched });
    expect(state.subjects).toEqual({ [launched]: 1 });
    expect(completed.filter(({ subject }) => subject === 'thrice')).toHaveLength(1);
  });

  test.each([
    ['malformed', '{"params": {', '$'],
    ['unknown-field', JSON.stringify({ params: { image: 'alpine' }, retrys: 2 }), 'retrys'],
    ['wrong-type', JSON.stringify({ params: { image: 'alpine' }, retries: 'two' }), 'retries'],
    ['unknown-operator', JSON.stringify({ operator: 'pud', params: {} }), 'operator'],
    ['unknown-param', JSON.stringify({ params: { image: 'alpine', comands: [] } }), 'params.comands'],
    ['too-large', JSON.stringify({ params: { image: 'alpine', arguments: ['x'.repeat(900 * 1024)] } }), '$'],
  ])('%s: ends as a failed run with the path of the problem', async (runId, body, path) => {
    publish(runId, body);
    const { data } = await endOf(runId);
    expect(data.state).toBe('failed');
    expect(data.diagnosis?.code).toBe('INVALID_REQUEST');
    expect(data.diagnosis?.problems?.map((problem) => problem.path)).toContain(path);
  });
});

describe('the command line, in the directory where dev runs', () => {
  const cli = (...args: readonly string[]) => runReentry(args, cliEnvironment(), directory);

  test('submit --wait exits with the code of the final state', async () => {
    const hello = ['--', 'sh', '-c', 'echo hello'];
    const good = await cli('submit', '--image', 'alpine', '--run-id', 'greets', '--wait', '--logs', ...hello);
    expect(good).toMatchObject({ code: 0, stdout: 'hello\n' });
    const mistyped = await cli('logs', 'greets', '--container', 'bse');
    expect(mistyped).toMatchObject({ code: 0, stdout: '' });
    expect(mistyped.stderr).toContain('no log of container bse; there is container base in attempt 1');
    const bad = await cli('submit', '--image', 'alpine', '--run-id', 'bad', '--wait', '--', 'sh', '-c', 'exit 3');
    expect(bad.code).toBe(1);
    expect(bad.stderr).toContain('CONTAINER_FAILED');
    const skipped = await cli(
      'submit',
      '--image',
      'alpine',
      '--param',
      'skipOnExitCode=99',
      '--wait',
      '--json',
      '--',
      'sh',
      '-c',
      'exit 99',
    );
    expect(skipped.code).toBe(3);
    expect(JSON.parse(skipped.stdout)).toMatchObject({ state: 'skipped' });
    const explained = await cli('explain', 'bad', '--json');
    expect(JSON.parse(explained.stdout)).toMatchObject({ outcome: { diagnosis: { code: 'CONTAINER_FAILED' } } });
  });

  test('retry asks for an ended run again, under a new id that names its parent', async () => {
    const first = await cli('submit', '--image', 'alpine', '--run-id', 'parent', '--wait', '--', 'sh', '-c', 'exit 4');
    expect(first.code).toBe(1);
    const again = await cli('retry', 'parent', '--run-id', 'child', '--wait', '--json');
    expect(again.code).toBe(1);
    expect(JSON.parse(again.stdout)).toMatchObject({ runId: 'child', parentRunId: 'parent', exitCode: 4 });
    // The new id is the retry's idempotency key.
    expect(JSON.parse((await cli('retry', 'parent', '--run-id', 'child', '--json')).stdout)).toMatchObject({
      duplicate: true,
    });
    expect((await cli('retry', 'unknown')).code).toBe(2);
  });

  test('submit --batch asks for all runs of a file, waits for them, and refuses a wrong file as a whole', async () => {
    const line = (runId: string, exit: number) =>
      JSON.stringify({ runId, params: { image: 'alpine', cmds: ['sh', '-c', `exit ${String(exit)}`] } });
    await writeFile(join(directory, 'runs.jsonl'), [line('b1', 0), line('b2', 0), line('b3', 7)].join('\n'));
    const done = await cli('submit', '--batch', 'runs.jsonl', '--wait');
    expect(done).toMatchObject({ code: 1, stderr: expect.stringContaining('3 accepted, 0 already known, 0 rejected') });
    expect(done.stdout.trim().split('\n').sort()).toEqual(['b1', 'b2', 'b3']);
    expect(done.stderr).toMatch(/2 .*succeeded/);
    const again = await cli('submit', '--batch', 'runs.jsonl', '--json');
    expect(again.stdout.match(/"duplicate":true/g)).toHaveLength(3);

    const yaml = '- params: {image: alpine}\n- runId: b4\n  params: {image: alpine}\n  retrys: 2\n';
    await writeFile(join(directory, 'wrong.yaml'), yaml);
    const wrong = await cli('submit', '--batch', 'wrong.yaml');
    expect(wrong).toMatchObject({ code: 2, stdout: '' });
    expect(wrong.stderr).toContain('run 2: retrys: unknown field; did you mean retries?');
    expect((await cli('status', 'b4')).code).toBe(2);
  });

  test('cancel --wait returns when the run is cancelled', async () => {
    const asked = await cli('submit', '--image', 'alpine', '--param', 'terminationGracePeriod=1', '--', 'sleep', '300');
    const runId = asked.stdout.trim();
    await expect
      .poll(async () => (await cli('status', runId, '--json')).stdout, { timeout: 30_000 })
      .toContain('"Deferred"');
    expect(await cli('cancel', runId, '--wait')).toMatchObject({ code: 0, stdout: `${runId}: cancelled\n` });
    const listed = z
      .looseObject({ runs: z.array(z.looseObject({ runId: z.string() })) })
      .parse(JSON.parse((await cli('list', '--json')).stdout));
    expect(listed.runs.map((run) => run.runId)).toContain(runId);
  });

  test('a wrong field is reported with its path before anything runs', async () => {
    const refused = await cli('submit', '--image', 'alpine', '--param', 'imagePulPolicy=Always');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('params.imagePulPolicy');
  });

  test('a run that does not exist and a used run id are errors', async () => {
    expect(await cli('status', 'unknown')).toMatchObject({ code: 2, stdout: '' });
    await cli('submit', '--image', 'alpine', '--run-id', 'taken', '--', 'true');
    const other = await cli('submit', '--image', 'busybox', '--run-id', 'taken', '--', 'true');
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('taken');
  });

  test('doctor checks the cluster of dev, and reports no problem', async () => {
    const { code, stdout } = await cli('doctor', '--json');
    expect(stdout).not.toContain('broken');
    expect(code).toBe(0);
    const findings = z.object({
      findings: z.array(z.object({ what: z.string(), state: z.string(), detail: z.string() })),
    });
    const found = new Map(
      findings.parse(JSON.parse(stdout)).findings.map(({ what, state, detail }) => [what, `${state} ${detail}`]),
    );
    expect(found.get('streams')).toBe('ok as setup makes them');
    expect(found.get('durability')).toContain('warning 1 copy');
    expect(found.get('workers')).toContain('ok 1 running');
    expect(found.get('triggerers')).toMatch(/^ok 1 running.*, watches at most/);
    expect(found.get('nats-server')).toMatch(/^ok \d+\.\d+/);
  });

  test('render prints the pod that the same flags would create, env values redacted', async () => {
    const { code, stdout } = await cli('render', '--image', 'alpine', '--env', 'DAY=monday', '--json', '--', 'true');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'Pod', spec: { containers: [{ image: 'alpine' }] } });
    expect(stdout).toContain('DAY');
    expect(stdout).not.toContain('monday');
  });

  test('a template is referred to by its file name in the template folder', async () => {
    const run = await cli('submit', '--wait', '--logs', '--param', 'podTemplateFile=small');
    expect(run).toMatchObject({ code: 0, stdout: 'templated\n' });
  });

  test('render --server asks the API server, which creates nothing', async () => {
    const { code, stdout } = await cli('render', '--server', '--image', 'alpine', '--json', '--', 'true');
    expect(code).toBe(0);
    const admitted = z.object({ metadata: z.object({ name: z.string(), uid: z.string() }) }).parse(JSON.parse(stdout));
    expect((await cli('render', '--server', '--image', 'alpine', '--json', '--', 'true')).stdout).not.toContain(
      admitted.metadata.uid,
    );
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('the first %s ends every command that waits', async (signal, code) => {
    const runId = `long-${signal}`;
    const script = ['--', 'sh', '-c', 'echo begun; sleep 300'];
    const waiting = (...args: readonly string[]) => startReentry(args, cliEnvironment(), directory);
    await using submit = waiting('submit', '--image', 'alpine', '--run-id', runId, '--wait', ...script);
    await using logs = waiting('logs', '-f', runId);
    await using unknownLogs = waiting('logs', '-f', 'not-submitted');
    await using unknownResult = waiting('result', '--wait', 'not-submitted');
    await expect.poll(() => logs.stdout(), { timeout: 60_000 }).toBe('begun\n');
    await expect.poll(() => submit.stderr(), { timeout: 60_000 }).toContain('launched');
    // A hint for a mistyped name, but no error: the run may be submitted later.
    for (const unknown of [unknownLogs, unknownResult])
      await expect
        .poll(() => unknown.stderr(), { timeout: 30_000 })
        .toBe('there is no run not-submitted yet; waiting for it\n');
    for (const command of [submit, logs, unknownLogs, unknownResult]) {
      command.kill(signal);
      expect(await command.ended).toBe(code);
    }
    expect(submit.stderr()).toContain(`no longer waiting; the run continues. See: reentry status ${runId}`);
    expect((await cli('cancel', runId)).code).toBe(0);
  });

  test('the broker listens on the default port of NATS clients, unless it is in use', async () => {
    if (new URL(ready.natsUrl).port === '4222') return;
    const taken = createConnection(4222, '127.0.0.1');
    await once(taken, 'connect');
    taken.destroy();
  });

  test('a dev of another directory runs at the same time, and has the same port when it is restarted', async () => {
    const other = join(directory, 'other');
    await mkdir(other);
    const startAgain = async (): Promise<string> => {
      await using second = startReentry(['dev', '--json'], cliEnvironment(), other);
      await expect.poll(() => second.stdout(), { timeout: 110_000 }).toContain('\n');
      second.kill('SIGTERM');
      expect(await second.ended).toBe(0);
      return readySchema.parse(JSON.parse(second.stdout())).natsUrl;
    };
    const url = await startAgain();
    expect(url).not.toBe(ready.natsUrl);
    expect(await startAgain()).toBe(url);
    expect((await cli('list')).code).toBe(0);
  });

  test('a second dev reports where the first one is', async () => {
    const second = await cli('dev', '--json');
    expect(second.code).toBe(2);
    expect(second.stderr).toContain(ready.natsUrl);
  });
});
