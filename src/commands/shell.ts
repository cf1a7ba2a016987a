/** What every command gets from `cli.ts`, and how it declares itself: settings, examples, one action with an exit code. */
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

/** Reads an option that is a whole number; the flag is named where it is none. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (value: string) => number {
  return (value) => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    const range =
      most === Number.MAX_SAFE_INTEGER ? `from ${String(least)} on` : `from ${String(least)} to ${String(most)}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

/** Reads a flag's value as a span in seconds, fractions too; a wrong one is a usage error. */
export function seconds(value: string): number {
  const number = Number(value);
  if (value.trim() !== '' && Number.isFinite(number) && number > 0) return number;
  throw new InvalidArgumentError('It must be a number of seconds above 0.');
}

/** A process's surroundings, read once by `cli.ts`. */
export interface Shell {
  /** Writes an answer: one text, a line feed is added. */
  out(text: string): void;
  /** Writes anything else. */
  err(text: string): void;
  /** The log's destination. */
  readonly stderr: { write(line: string): void; readonly isTTY?: boolean };
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  /** Width of the terminal on stdout, where it is one. */
  readonly columns?: number | undefined;
  /** Colour is wanted on stdout. */
  readonly colour: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  /** The user's cache folder of this machine. */
  readonly userCache: string;
  /** All of standard input. */
  stdin(): Promise<string>;
  /** Emits the first SIGINT or SIGTERM; the second ends the process at once. */
  readonly stop$: Observable<string>;
  /** How to start another process of this program. */
  readonly self: readonly [program: string, ...leading: string[]];
  readonly version: string;
}

/** A command's settings, and whether the answer is wanted as JSON. */
export interface Invocation {
  readonly shell: Shell;
  readonly config: Config;
  readonly json: boolean;
}

/** What a command file declares. `settings` become flags. */
export interface Declaration {
  readonly name: string;
  readonly summary: string;
  readonly settings: readonly SettingName[];
  readonly examples: readonly string[];
}

/** Settings that each command speaking NATS has. */
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
/** A commander command with its settings as flags, `--json`, `--config` and examples in its help. */
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

/** A command of commands: `reentry NAME VERB`. */
export function family(name: string, summary: string, members: readonly Command[]): Command {
  const command = new Command(name).description(summary);
  for (const member of members) command.addCommand(member.exitOverride().showHelpAfterError('(see --help)'));
  return command;
}

const flagsSchema = z.record(z.string(), z.unknown());

/** Ends the action: the process ends with this code once nothing is left to do. */
export type Finish = (code: ExitCode) => void;

/**
 * What the first signal does to a command. `leaves` (default): it is left where it stands, and the exit code is the signal's; what it has to
 * say then, it says at `stop$` itself. `drains`: it hears `stop$`, tidies up, and ends with a code of its own.
 */
export type AtStop = 'leaves' | 'drains';

/** Binds `act` to the command: settings are checked first, the exit code goes to `finish`. */
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
    // What the act holds is given back by the end of the process, which `finish` announces.
    const acting$ = defer(() => act(invocation, options, command.args));
    const code$ = merge(shell.stop$.pipe(map(signalCode)), acting$);
    finish(await firstValueFrom(code$, { defaultValue: EXIT_CODES.failed }));
  });
}

/** The one argument of a command that declared `<run>`; commander has seen to it that it is there. */
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
/** What a running `reentry dev` writes beside its installation, for other commands of the same directory. */
export type DevState = z.infer<typeof devStateSchema>;

/** Where `reentry dev` keeps the installation of a directory. */
export function devFolder(shell: Shell, cacheFolder: unknown): string {
  const cache =
    z.string().optional().parse(cacheFolder) ?? filled(shell.env['REENTRY_CACHE_FOLDER']) ?? shell.userCache;
  return join(cache, 'dev', createHash('sha256').update(shell.directory).digest('hex').slice(0, 16));
}

/** The `reentry dev` that runs for a folder of `devFolder`, if one does. */
export async function readDevState(folder: string): Promise<DevState | undefined> {
  let text: string;
  try {
    text = await readFile(join(folder, 'state.json'), 'utf8');
  } catch {
    return undefined; // none was started here
  }
  try {
    const state = devStateSchema.safeParse(JSON.parse(text));
    return state.success && (await livesElsewhere(state.data)) ? state.data : undefined;
  } catch {
    return undefined; // half written by a process that died
  }
}

async function runningDev(
  shell: Shell,
  options: Readonly<Record<string, unknown>>,
): Promise<{ readonly natsUrl: string; readonly kubeconfig?: string } | undefined> {
  const { natsUrl, kubeconfig } = (await readDevState(devFolder(shell, options['cacheFolder']))) ?? {};
  return natsUrl === undefined ? undefined : { natsUrl, ...(kubeconfig === undefined ? {} : { kubeconfig }) };
}
