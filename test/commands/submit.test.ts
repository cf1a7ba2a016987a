import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NEVER } from 'rxjs';
import { describe, expect, test } from 'vitest';
import type { Shell } from '../../src/commands/shell.ts';
import { submitCommand } from '../../src/commands/submit.ts';

const shell: Shell = {
  ...{ out: () => undefined, err: () => undefined, stderr: { write: () => undefined } },
  ...{ outIsTty: false, errIsTty: false, colour: false, env: {}, directory: tmpdir(), userCache: tmpdir() },
  ...{ stdin: () => Promise.reject(new Error('nothing is read')), stop$: NEVER, self: ['node'], version: '0' },
};
const submit = () => submitCommand(shell, () => undefined).exitOverride();
/** The flags that describe one run, as the help lists them, and the two of `submit` itself that do. */
const ofOneRun = submit().options.filter(
  ({ helpGroupHeading, long }) => helpGroupHeading === 'Run:' || long === '--run-id' || long === '--logs',
);
const missing = join(import.meta.dirname, 'no-such-file.jsonl');

describe('--batch excludes the flags that describe one run', () => {
  test('there are such flags', () => {
    expect(ofOneRun.map(({ long }) => long)).toEqual(
      expect.arrayContaining(['--retries', '--timeout', '--namespace', '--result', '--label', '--command']),
    );
  });

  test.each(ofOneRun.map((option) => [option.long ?? '', option.required ? ['A=1'] : []]))(
    '%s',
    async (flag, value) => {
      await expect(submit().parseAsync(['--batch', missing, flag, ...value], { from: 'user' })).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
        message: `--batch cannot be combined with ${flag}: the file describes each run`,
      });
    },
  );

  test('a command after -- is refused with all other excluded flags at once', async () => {
    const args = ['--batch', missing, '--retries', '2', '--label', 'a=b', '--', 'true'];
    await expect(submit().parseAsync(args, { from: 'user' })).rejects.toThrow(
      '--batch cannot be combined with --label, --retries, a command: the file describes each run',
    );
  });

  test('options for all of them are allowed', async () => {
    const args = ['--batch', missing, '--queue', 'q', '--wait', '--no-check', '--json', '--tenant', 'sales'];
    await expect(submit().parseAsync(args, { from: 'user' })).rejects.toThrow('no-such-file.jsonl');
  });
});
