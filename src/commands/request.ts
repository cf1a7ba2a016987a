/** A run request from flags or from a YAML or JSON file. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { nearest } from '../core/nearest.ts';
import { ReentryError } from '../errors.ts';
import type { Problem } from '../errors.ts';
import { runRequestSchema } from '../wire/run-request.ts';
import type { RunRequestInput } from '../wire/run-request.ts';
import { readText } from '../process/files.ts';
import type { Shell } from './shell.ts';

const collect = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

/** The flags that describe a request; new objects at each call, because commander changes them. */
export function requestOptions(): readonly Option[] {
  return [
    new Option('-f, --file <FILE>', 'request as YAML or JSON; - is standard input'),
    new Option('--operator <NAME>', 'operator of the run; default: pod'),
    new Option(
      '--command [WORDS...]',
      'run a command by an executor (operator command); give it here, or unquoted after --',
    ),
    new Option('--image <IMAGE>', 'container image'),
    new Option('--name <NAME>', 'name of the pod, to which a suffix per attempt is added'),
    new Option('--namespace <NAMESPACE>', 'Kubernetes namespace'),
    new Option('--connection <NAME>', 'named cluster (kubernetesConnId)'),
    new Option('--service-account <NAME>', 'service account of the pod'),
    new Option('-e, --env <NAME=VALUE>', 'environment variable of the container; repeatable').argParser(collect),
    new Option('--label <NAME=VALUE>', 'label of the pod; repeatable').argParser(collect),
    new Option(
      '--param <NAME=JSON>',
      'any parameter of the operator, e.g. \'onFinishAction="keep_pod"\'; repeatable',
    ).argParser(collect),
    new Option('--result', 'the run returns a result (doXcomPush)'),
    new Option('--retries <N>', 'further attempts after a failure of the program'),
    new Option('--retry-delay <SECONDS>', 'pause before the next attempt'),
    new Option('--timeout <SECONDS>', 'execution time-out of an attempt'),
    new Option('--expire <SECONDS>', 'give up if no pod was created within this time'),
    new Option('--start-after <TIME>', 'earliest start, as RFC 3339 time'),
    new Option('--priority <LEVEL>', "high, normal or low: order among the tenant's own waiting runs"),
    new Option(
      '--concurrency-key <KEY>',
      'runs with the same key share concurrency slots: one, unless workers are configured otherwise',
    ),
    new Option('--dag-id <ID>', 'dagId of the context'),
    new Option('--task-id <ID>', 'taskId of the context'),
  ];
}

/** Adds the flags that describe a request. Words after `--` are the container's command. */
export function requestFlags(command: Command): Command {
  for (const option of requestOptions()) command.addOption(option.helpGroup('Run:'));
  return command.argument('[command...]', 'after --: command and arguments of the container');
}

const text = z.string().optional();
const texts = z.array(z.string()).optional();
const flagsSchema = z.looseObject({
  file: text,
  operator: text,
  command: z.union([z.literal(true), z.array(z.string())]).optional(),
  image: text,
  name: text,
  namespace: text,
  connection: text,
  serviceAccount: text,
  env: texts,
  label: texts,
  param: texts,
  result: z.boolean().optional(),
  retries: text,
  retryDelay: text,
  timeout: text,
  expire: text,
  startAfter: text,
  priority: text,
  concurrencyKey: text,
  dagId: text,
  taskId: text,
});

/**
 * The request that flags, file and trailing command describe; flags override the file.
 * @throws ReentryError INVALID_REQUEST with all problems, each with its path and the nearest valid name
 */
export async function requestFrom(
  shell: Shell,
  options: Readonly<Record<string, unknown>>,
  command: readonly string[],
): Promise<RunRequestInput> {
  const flags = flagsSchema.parse(options);
  const problems: Problem[] = [];
  const base = await fromFile(shell, flags.file);
  const isCommand = flags.command !== undefined || (flags.operator ?? base['operator']) === 'command';
  const [program, ...rest] = command;
  const params = {
    ...record(base['params']),
    ...defined({
      image: flags.image,
      ...(isCommand ? commandParams(flags.command, command, flags.name, base) : { name: flags.name }),
      namespace: flags.namespace,
      kubernetesConnId: flags.connection,
      serviceAccountName: flags.serviceAccount,
      envVars: pairs('--env', flags.env, problems),
      labels: pairs('--label', flags.label, problems),
      doXcomPush: flags.result,
      cmds: isCommand || program === undefined ? undefined : [program],
      arguments: isCommand || rest.length === 0 ? undefined : rest,
    }),
    ...jsonPairs(flags.param, problems),
  };
  const context = { ...record(base['context']), ...defined({ dagId: flags.dagId, taskId: flags.taskId }) };
  const request = {
    ...base,
    params,
    ...(Object.keys(context).length === 0 ? {} : { context }),
    ...defined({
      operator: flags.operator ?? (flags.command === undefined ? undefined : 'command'),
      retries: number('--retries', flags.retries, problems),
      retryDelaySeconds: number('--retry-delay', flags.retryDelay, problems),
      executionTimeoutSeconds: number('--timeout', flags.timeout, problems),
      expireSeconds: number('--expire', flags.expire, problems),
      startAfter: flags.startAfter,
      priority: flags.priority,
      concurrencyKey: flags.concurrencyKey,
    }),
  };
  const checked = checkedRequest(request);
  problems.push(...checked.problems);
  if (problems.length > 0) {
    throw new ReentryError('INVALID_REQUEST', 'invalid request:', { transient: false, problems });
  }
  return checked.request;
}

/** A request as written, and the problems of its envelope. A worker checks the operator's parameters. */
export function checkedRequest(request: Readonly<Record<string, unknown>>): {
  readonly request: RunRequestInput;
  readonly problems: readonly Problem[];
} {
  const parsed = runRequestSchema.safeParse(request);
  return {
    // Sent as written, without defaults: those are the worker's.
    request: z.custom<RunRequestInput>().parse(request),
    problems: (parsed.error?.issues ?? []).flatMap(problemsOf),
  };
}

/** Parameters of a `command` run: the words of the flag, then those after `--`. A single word with spaces is split as by a shell. */
function commandParams(
  flag: true | readonly string[] | undefined,
  rest: readonly string[],
  name: string | undefined,
  base: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const given = [...(flag === true || flag === undefined ? [] : flag), ...rest];
  const [only = ''] = given;
  const words = given.length === 1 && rest.length === 0 && /\s/.test(only) ? shellWords(only) : given;
  const config = record(record(base['params'])['executorConfig']);
  const override = record(config['podOverride']);
  return {
    command: words.length === 0 ? undefined : words,
    executorConfig:
      name === undefined
        ? undefined
        : { ...config, podOverride: { ...override, metadata: { ...record(override['metadata']), name } } },
  };
}

/** Splits a line into words, with quotes and backslashes as in a shell. Nothing is expanded. */
export function shellWords(line: string): readonly string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:\\[^]|"(?:\\[^]|[^"\\])*"|'[^']*'|[^\s"'\\])+/g)) {
    words.push(
      word.replace(
        /\\([^])|"((?:\\[^]|[^"\\])*)"|'([^']*)'/g,
        (_, escaped?: string, double?: string, single?: string) =>
          escaped ?? single ?? (double ?? '').replace(/\\([\\"])/g, '$1'),
      ),
    );
  }
  return words;
}

async function fromFile(shell: Shell, name: string | undefined): Promise<Readonly<Record<string, unknown>>> {
  if (name === undefined) return {};
  const shown = name === '-' ? 'standard input' : name;
  const content = parseYamlFile(shown, name === '-' ? await shell.stdin() : await readText(name));
  const request = z.record(z.string(), z.unknown()).safeParse(content);
  if (request.success) return request.data;
  throw new ReentryError('INVALID_REQUEST', `${shown} must contain one request: a mapping with operator, params, …`, {
    transient: false,
  });
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  const parsed = z.record(z.string(), z.unknown()).safeParse(value);
  return parsed.success ? parsed.data : {};
}

function defined(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function pairs(
  flag: string,
  given: readonly string[] | undefined,
  problems: Problem[],
): Readonly<Record<string, string>> | undefined {
  if (given === undefined) return undefined;
  const entries = given.map((pair): [string, string] => {
    const at = pair.indexOf('=');
    if (at < 1) problems.push({ path: flag, message: `must be NAME=VALUE, not ${JSON.stringify(pair)}` });
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return Object.fromEntries(entries);
}

function jsonPairs(given: readonly string[] | undefined, problems: Problem[]): Readonly<Record<string, unknown>> {
  const parsed: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(pairs('--param', given, problems) ?? {})) {
    try {
      parsed[name] = JSON.parse(value);
    } catch {
      parsed[name] = value; // `--param image=alpine` means the text
    }
  }
  return parsed;
}

function number(flag: string, given: string | undefined, problems: Problem[]): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (given.trim() !== '' && Number.isFinite(value)) return value;
  problems.push({ path: flag, message: `must be a number, not ${JSON.stringify(given)}` });
  return undefined;
}

function problemsOf(issue: z.core.$ZodIssue): readonly Problem[] {
  const path = issue.path.map(String).join('.');
  if (issue.code !== 'unrecognized_keys') return [{ path: path === '' ? '$' : path, message: issue.message }];
  const known = Object.keys(
    path === 'context' ? runRequestSchema.shape.context.unwrap().shape : runRequestSchema.shape,
  );
  return issue.keys.map((key) => {
    const near = nearest(key, known);
    return {
      path: path === '' ? key : `${path}.${key}`,
      message: `unknown field${near === undefined ? '' : `; did you mean ${near}?`}`,
    };
  });
}
