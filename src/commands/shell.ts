/** The frame of every command: what it gets from its process, how it declares flags and examples, and its exit code. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { defer, firstValueFrom, map, merge } from 'rxjs';
import type { Observable } from 'rxjs';
import { z } from 'zod';
import { CONFIG_FILE_ENV, parseConfig, parseYamlFile, SETTINGS } from '../config.ts';
import type { Config, SettingName } from '../config.ts';
import { ReentryError } from '../errors.ts';
import { readText } from '../process/files.ts';
import { EXIT_CODES, signalCode } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { identityFields, livesElsewhere } from './process-identity.ts';

/** Parser of an option that is a whole number from `least` to `most`; anything else is a usage error. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (value: string) => number {
  return (value) => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    const range =
      most === Number.MAX_SAFE_INTEGER ? `from ${String(least)} on` : `from ${String(least)} to ${String(most)}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

/** Parser of an option in seconds, fractions allowed; anything else is a usage error. */
export function parseSeconds(value: string): number {
  const number = Number(value);
  if (value.trim() !== '' && Number.isFinite(number) && number > 0) return number;
  throw new InvalidArgumentError('It must be a number of seconds above 0.');
}

/** The process of a command: its streams, environment and signals. */
export interface Shell {
  /** Writes an answer to stdout; a line feed is added. */
  out(text: string): void;
  /** Writes anything else to stderr; a line feed is added. */
  err(text: string): void;
  /** Destination of the log. */
  readonly stderr: { write(line: string): void; readonly isTTY?: boolean };
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  /** Width of the terminal on stdout, where it is one. */
  readonly columns?: number | undefined;
  /** Whether stdout gets colours. */
  readonly colour: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  /** The user's cache folder of this machine. */
  readonly userCache: string;
  /** Reads standard input to its end. */
  stdin(): Promise<string>;
  /** Emits the first SIGINT or SIGTERM; the second ends the process at once. */
  readonly stop$: Observable<string>;
  /** How to start another process of this program. */
  readonly self: readonly [program: string, ...leading: string[]];
  readonly version: string;
}

/** One call of a command: its process, settings, and whether the answer is JSON. */
export interface Invocation {
  readonly shell: Shell;
  readonly config: Config;
  readonly json: boolean;
}

/** Declaration of a command; `settings` become flags. */
export interface Declaration {
  readonly name: string;
  readonly summary: string;
  readonly settings: readonly SettingName[];
  readonly examples: readonly string[];
}

/** Settings of every command that connects to NATS. */
export const NATS_SETTINGS: readonly SettingName[] = [
  'natsUrl',
  'natsCreds',
  'natsToken',
  'natsTokenFile',
  'natsUser',
  'natsPassFile',
  'natsTlsCa',
  'natsTlsCert',
  'natsTlsKey',
  'subjectRoot',
  'assetPrefix',
];
/** Settings of commands that act for one tenant. */
export const CLIENT_SETTINGS: readonly SettingName[] = ['tenant', ...NATS_SETTINGS];
/** Makes a command with its settings as flags, `--json`, `--config`, and examples in its help. */
export function declare(declaration: Declaration): Command {
  const command = new Command(declaration.name).description(declaration.summary);
  for (const setting of SETTINGS) {
    if (!declaration.settings.includes(setting.name)) continue;
    const preset = setting.default === undefined ? '' : `, default ${setting.default}`;
    const option = new Option(`${setting.flag} <${setting.value}>`, `${setting.help} (${setting.env}${preset})`);
    command.addOption(option.helpGroup('Settings:'));
  }
  command.addOption(
    new Option('--config <FILE>', `settings file, YAML or JSON (${CONFIG_FILE_ENV})`).helpGroup('Settings:'),
  );
  command.option('--json', 'answer as JSON');
  const examples = declaration.examples.map((line) => `  ${line}`).join('\n');
  return command.addHelpText('after', `\nExamples:\n${examples}`);
}

/** Makes a command with subcommands: `reentry NAME VERB`. */
export function family(name: string, summary: string, members: readonly Command[]): Command {
  const command = new Command(name).description(summary);
  for (const member of members) command.addCommand(member.exitOverride().showHelpAfterError('(see --help)'));
  return command;
}

const flagsSchema = z.record(z.string(), z.unknown());

/** Sets the exit code of the process. */
export type Finish = (code: ExitCode) => void;

/**
 * Effect of the first signal on a command. `leaves`: the command is abandoned and the exit code is the signal's. `drains`: the command
 * observes `stop$`, cleans up, and returns its own exit code.
 */
export type AtStop = 'leaves' | 'drains';

/** Binds `act` to the command. Settings are validated first; the exit code goes to `finish`. */
export function action(
  command: Command,
  shell: Shell,
  finish: Finish,
  act: (
    invocation: Invocation,
    options: Readonly<Record<string, unknown>>,
    args: readonly string[],
  ) => Promise<ExitCode>,
  atStop: AtStop = 'leaves',
): Command {
  return command.action(async () => {
    const options = flagsSchema.parse(command.opts());
    const invocation = { shell, config: await configOf(shell, options), json: options['json'] === true };
    if (atStop === 'drains') {
      finish(await act(invocation, options, command.args));
      return;
    }
    // Resources of an abandoned act are released by the end of the process.
    const acting$ = defer(() => act(invocation, options, command.args));
    const code$ = merge(shell.stop$.pipe(map(signalCode)), acting$);
    finish(await firstValueFrom(code$, { defaultValue: EXIT_CODES.failed }));
  });
}

/** The argument of a command that declares a required one. */
export function oneArgument(args: readonly string[]): string {
  const [first] = args;
  if (first === undefined) throw new ReentryError('CONFIG_INVALID', 'an argument is missing', { transient: false });
  return first;
}

async function configOf(shell: Shell, options: Readonly<Record<string, unknown>>): Promise<Config> {
  const name = z
    .string()
    .optional()
    .parse(options['config'] ?? filled(shell.env[CONFIG_FILE_ENV]));
  const found = await runningDev(shell, options);
  const sources = {
    flags: options,
    env: shell.env,
    ...(found === undefined ? {} : { found }),
  };
  if (name === undefined) return parseConfig(sources);
  return parseConfig({ ...sources, file: { name, content: parseYamlFile(name, await readText(name)) } });
}

function filled(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}

const devStateSchema = z.looseObject({
  ...identityFields,
  natsUrl: z.string().optional(),
  kubeconfig: z.string().optional(),
  directory: z.string(),
  ready: z.boolean(),
});
/** State file of a running `reentry dev`, for other commands in the same directory. */
export type DevState = z.infer<typeof devStateSchema>;

/** Folder where `reentry dev` keeps the installation of a directory. */
export function devFolder(shell: Shell, cacheFolder: unknown): string {
  const cache =
    z.string().optional().parse(cacheFolder) ?? filled(shell.env['REENTRY_CACHE_FOLDER']) ?? shell.userCache;
  return join(cache, 'dev', createHash('sha256').update(shell.directory).digest('hex').slice(0, 16));
}

/** State of the `reentry dev` that runs for a folder of `devFolder`, if one does. */
export async function readDevState(folder: string): Promise<DevState | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, 'state.json'), 'utf8');
  } catch {
    return undefined; // never started here
  }
  try {
    const state = devStateSchema.safeParse(JSON.parse(text));
    return state.success && (await livesElsewhere(state.data)) ? state.data : undefined;
  } catch {
    return undefined; // partly written by a process that was killed
  }
}

async function runningDev(
  shell: Shell,
  options: Readonly<Record<string, unknown>>,
): Promise<{ readonly natsUrl: string; readonly kubeconfig?: string } | undefined> {
  const { natsUrl, kubeconfig } = (await readDevState(devFolder(shell, options['cacheFolder']))) ?? {};
  return natsUrl === undefined ? undefined : { natsUrl, ...(kubeconfig === undefined ? {} : { kubeconfig }) };
}
