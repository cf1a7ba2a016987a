/**
 * Runs the shell examples of all manuals as they are written, in a folder that looks like a clone, against the one `reentry dev` that the
 * top README starts. A fence with `<!-- not run: reason -->` or `<!-- run by file -->` above it is not run; `<!-- file: name -->`
 * above a fence of any language writes it to that file first. `# exit code N` at the end of a line is what the command must end with.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Fence, fencesOf, manuals, ROOT } from '../support/manuals.ts';
import { freePorts } from '../support/ports.ts';

const ROLE = /^(?:npm run -s reentry -- |reentry )(dev|worker|triggerer|executor|serve)\b/;
const isRun = ({ language, marker }: Fence): boolean => language === 'sh' && !/^(not run: |run by )/.test(marker ?? '');

/** The commands of a fence: comment lines left out, lines that end in a backslash joined. */
function commandsOf({ text }: Fence): readonly string[] {
  const lines = text.replace(/\\\n\s*/g, '').split('\n');
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
}

/** Commands that have an end, as one stretch; each that has none by itself, save `dev`, which runs already. */
function stretches(commands: readonly string[]): readonly (readonly string[])[] {
  const all: string[][] = [[]];
  for (const command of commands) {
    const role = ROLE.exec(command)?.[1];
    if (role === undefined) all.at(-1)?.push(command);
    else if (role !== 'dev') all.push([command], []);
  }
  return all.filter((stretch) => stretch.length > 0);
}

let clone: string;
let dev: Shell;
/** What a user's terminal has set; where dev listens is added once it is up. */
let env: Record<string, string>;
/** All that was started; what still runs at the end is killed. */
const started: Shell[] = [];

/** Runs a command in a shell with its own process group; records its output. */
interface Shell {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function shell(command: string, more: Readonly<Record<string, string>> = {}): Shell {
  const child = spawn('bash', ['-c', command], {
    ...{ cwd: clone, env: { ...env, ...more }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const made = { child, output: () => output, ended: once(child, 'exit').then(() => child.exitCode) };
  started.push(made);
  return made;
}

/** As Ctrl-C does: every process of the terminal gets the signal. */
function interrupt({ child }: Shell, signal: NodeJS.Signals): void {
  try {
    process.kill(-(child.pid ?? 0), signal);
  } catch {
    // It has ended.
  }
}

async function writeFiles(manual: string): Promise<void> {
  for (const { marker, text } of fencesOf(manual)) {
    const name = /^file: (\S+)$/.exec(marker ?? '')?.[1];
    if (name !== undefined) await writeFile(join(clone, name), `${text}\n`);
  }
}

/** A command that ends with the exit code that its line states. */
function withExitCode(command: string): string {
  const wanted = /# .*\bexit code (\d+)$/.exec(command)?.[1];
  return wanted === undefined ? command : `{ ${command}\n} || test $? -eq ${wanted}`;
}

/** Runs what has an end to its end; starts what has none, waits until it is ready, and stops it. */
async function run(lines: readonly string[]): Promise<void> {
  const [command = ''] = lines;
  if (ROLE.test(command)) {
    const [free] = await freePorts(1);
    const port = String(free);
    const role = shell(`exec ${command}`, {
      REENTRY_NATS_URL: env['NATS_URL'] ?? '',
      REENTRY_KUBECONFIG: env['KUBECONFIG'] ?? '',
      REENTRY_HTTP_PORT: port,
    });
    const isReady = async (): Promise<boolean> => {
      if (role.child.exitCode !== null) throw new Error(`${command}: ended\n${role.output()}`);
      return fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
    };
    await vi.waitUntil(isReady, { timeout: 60_000, interval: 100 });
    interrupt(role, 'SIGTERM');
    expect(await role.ended, role.output()).toBe(0);
    return;
  }
  // One shell: variables and background processes of a line exist for the next. `-v` prints where it stopped.
  const script = shell(`set -ev\n${lines.map(withExitCode).join('\n')}`);
  const code = await script.ended;
  interrupt(script, 'SIGTERM');
  expect(code, script.output()).toBe(0);
}

beforeAll(async () => {
  clone = await mkdtemp(join(tmpdir(), 'reentry-clone-'));
  for (const name of ['package.json', 'src', 'test', 'helm', 'node_modules', '.ci', '.config'])
    await symlink(join(ROOT, name), join(clone, name));
  // What `npm run build` makes, as far as the examples import it: e2e/package.test.ts proves the real one.
  await mkdir(join(clone, 'dist/client'), { recursive: true });
  await writeFile(join(clone, 'dist/index.js'), `export * from '${ROOT}src/index.ts';`);
  await writeFile(join(clone, 'dist/client/index.js'), `export * from '${ROOT}src/client/index.ts';`);
  const bin = join(clone, 'bin');
  await mkdir(bin);
  const programs = {
    reentry: `exec node --max-semi-space-size=2 ${ROOT}src/cli.ts "$@"`,
    nats: `exec node ${ROOT}test/support/nats-cli.ts "$@"`,
  };
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
  const { PATH = '', HOME = '', REENTRY_NATS_SERVER } = process.env;
  env = {
    PATH: [bin, dirname(process.execPath), join(ROOT, 'node_modules/.bin'), PATH].join(delimiter),
    HOME,
    REENTRY_CACHE_FOLDER: join(clone, 'cache'),
    ...(REENTRY_NATS_SERVER === undefined ? {} : { REENTRY_NATS_SERVER }),
  };
  await writeFiles('README.md');
  const [start] = fencesOf('README.md')
    .filter(isRun)
    .flatMap(commandsOf)
    .filter((line) => ROLE.test(line));
  expect(start).toContain('dev');
  dev = shell(`exec ${start ?? ''}`);
  await vi.waitUntil(() => dev.output().includes('reentry is up') || dev.child.exitCode !== null, { timeout: 110_000 });
  const [, url] = /broker +(\S+)/.exec(dev.output()) ?? [];
  const [, kubeconfig] = /--kubeconfig (\S+)/.exec(dev.output()) ?? [];
  expect({ url, kubeconfig, output: dev.output() }).toMatchObject({
    url: expect.stringContaining('nats://'),
    kubeconfig: expect.stringContaining('/'),
  });
  env = { ...env, NATS_URL: url ?? '', KUBECONFIG: kubeconfig ?? '' };
});

afterAll(async () => {
  interrupt(dev, 'SIGINT');
  await dev.ended;
  for (const one of started) interrupt(one, 'SIGKILL');
  await rm(clone, { recursive: true, force: true });
});

describe.each(manuals().filter((manual) => fencesOf(manual).some(isRun)))('%s', (manual) => {
  test.each(fencesOf(manual).filter(isRun))('the example of line $line works', async (fence) => {
    await writeFiles(manual);
    for (const lines of stretches(commandsOf(fence))) await run(lines);
  });
});
