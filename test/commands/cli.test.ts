import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { DIAGNOSES } from '../../src/core/run/diagnosis.ts';
import { runReentry } from '../support/processes.ts';

/** A loopback port that nothing listens on. */
const UNREACHABLE = 'nats://127.0.0.1:1';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-cli-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const cli = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runReentry(args, { REENTRY_CACHE_FOLDER: join(directory, 'cache'), ...env }, directory);

describe('help', () => {
  test('names every command, on stdout, and ends with 0', async () => {
    const { code, stdout, stderr } = await cli(['--help']);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const name of [
      'dev',
      'worker',
      'triggerer',
      'executor',
      'submit',
      'retry',
      'status',
      'list',
      'logs',
      'cancel',
      'result',
      'explain',
      'render',
      'schema',
      'docs',
      'setup',
      'queue',
      'dlq',
      'recover',
      'doctor',
    ])
      expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'));
  });

  test('of a command has examples and its settings with their variables', async () => {
    const { stdout } = await cli(['submit', '--help']);
    expect(stdout).toContain('Examples:');
    expect(stdout.replace(/\s+/g, ' ')).toContain('REENTRY_NATS_URL');
  });
});

describe('a usage error exits with 2 and suggests the nearest name', () => {
  test.each([
    ['an unknown command', ['sumbit'], 'submit'],
    ['an unknown flag', ['submit', '--imag', 'alpine'], '--image'],
    ['a missing argument', ['status'], 'run'],
    ['an unknown phase', ['list', '--phase', 'Defered'], 'Deferred'],
    ['an unknown diagnosis', ['explain', 'OOM_KILED'], 'OOM_KILLED'],
    ['an unknown manual', ['docs', 'wier'], 'wire'],
    ['a number that is none', ['submit', '--image', 'alpine', '--retries', 'two'], '--retries'],
    ['a page of no runs', ['list', '--limit', '0'], 'from 1 to 500'],
    ['an attempt that is no number', ['logs', 'r', '--attempt', 'x'], '--attempt'],
    ['a pair that is none', ['submit', '--image', 'alpine', '--env', 'DAY'], 'NAME=VALUE'],
    ['a reason that is too long', ['queue', 'pause', 'default', '--reason', 'x'.repeat(201)], '--reason'],
    ['a monitor that is no URL', ['doctor', '--monitor', 'nats'], '--monitor'],
    ['a setting of setup, asked of a worker', ['worker', '--log-retention-days', '9'], '--log-retention-days'],
    ['a setting of setup, asked of several roles', ['serve', '--log-retention-days', '9'], '--log-retention-days'],
    ['traces, asked of who makes none', ['triggerer', '--otel-endpoint', 'http://127.0.0.1:1'], '--otel-endpoint'],
    ['a tenant, asked of what serves all', ['dev', '--tenant', 'sales'], '--tenant'],
    ['a setting that does not fit', ['status', 'r', '--nats-url', 'not a url'], '--nats-url'],
  ])('%s', async (_name, args, text) => {
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(text);
    expect(stderr).not.toContain('    at ');
  });

  test('all wrong settings at once, the nearest name with each', async () => {
    const { code, stderr } = await cli(['worker', '--http-port', 'x'], { REENTRY_NATS_URI: UNREACHABLE });
    expect(code).toBe(2);
    expect(stderr).toContain('--http-port');
    expect(stderr).toContain('did you mean REENTRY_NATS_URL?');
  });

  test('a request file with a wrong field', async () => {
    const file = join(directory, 'request.yaml');
    await writeFile(file, 'params: { image: alpine }\nretrys: 2\n');
    const { code, stderr } = await cli(['submit', '-f', file]);
    expect(code).toBe(2);
    expect(stderr).toContain('retrys: unknown field; did you mean retries?');
  });
});

describe('an unreachable broker ends with 5 and names server and remedy', () => {
  test.each([['status', 'r'], ['submit', '--image', 'alpine'], ['list'], ['setup'], ['logs', 'r']])(
    '%s',
    async (...args) => {
      const { code, stdout, stderr } = await cli(args, { REENTRY_NATS_URL: UNREACHABLE });
      expect(code).toBe(5);
      expect(stdout).toBe('');
      expect(stderr).toContain('127.0.0.1:1');
      expect(stderr).toContain('REENTRY_NATS_URL');
    },
  );
});

describe('what needs no broker', () => {
  test('explain CODE', async () => {
    const { code, stdout } = await cli(['explain', 'OOM_KILLED', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ code: 'OOM_KILLED', category: 'user' });
  });

  test.each([
    [['schema'], '"retries"'],
    [['docs'], 'wire'],
    [['docs', 'wire'], '# '],
    [['docs', 'wire', '--json'], '"path":"src/wire/README.md"'],
    [['schema', 'asyncapi'], '"asyncapi": "3.0.0"'],
  ])('%j', async (args, text) => {
    const { code, stdout } = await cli(args);
    expect(code).toBe(0);
    expect(stdout).toContain(text);
  });
});

describe('explain without a broker', () => {
  test('lists every diagnosis code with its meaning and the cost of a retry', async () => {
    const { code, stdout } = await cli(['explain', '--json']);
    expect(code).toBe(0);
    const codeSchema = z.strictObject({
      code: z.string(),
      category: z.string(),
      budget: z.enum(['user', 'infrastructure', 'none']),
      spends: z.string().min(1),
      meaning: z.string().min(1),
      hint: z.string().min(1),
    });
    const { codes } = z.object({ codes: z.array(codeSchema) }).parse(JSON.parse(stdout));
    expect(codes.map((entry) => entry.code)).toEqual(Object.keys(DIAGNOSES));
    for (const one of ['EVICTED', 'QUEUE_PAUSED']) {
      const explained = await cli(['explain', one, '--json']);
      expect(JSON.parse(explained.stdout)).toEqual(codes.find((entry) => entry.code === one));
    }
    expect((await cli(['explain'])).stdout.split('\n').length).toBeGreaterThan(codes.length);
  });
});
