/**
 * Every setting with its default: `natsUrl` here is `REENTRY_NATS_URL` in the environment, `--nats-url` on the command line and
 * `natsUrl` in the settings file. A flag beats the environment, the environment beats the file, the file beats the default.
 */
import { distance } from 'fastest-levenshtein';
import { didYouMean } from './core/nearest.ts';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { ReentryError } from './errors.ts';
import type { Problem } from './errors.ts';
import { DEFAULT_ASSET_PREFIX } from './wire/streams.ts';
import { DEFAULT_NATS_URL, DEFAULT_SUBJECT_ROOT } from './wire/subjects.ts';
import { DEFAULT_EXECUTOR_QUEUE, DEFAULT_QUEUE, DEFAULT_TENANT, isTokenText, QUEUE_PATTERN } from './wire/tokens.ts';

/** A value that printing, logging and JSON do not reveal. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value, for the call that needs it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}

/** Description of a setting; type and default are in the schema. */
export interface SettingFacts {
  /** Shown in help, manual and chart; ends with a full stop. */
  readonly help: string;
  /** Placeholder of the value in help, with its unit. */
  readonly value: string;
  /** A second environment variable, used by convention elsewhere. */
  readonly alsoEnv?: string;
}

const facts = z.registry<SettingFacts>();

const text = z.string().min(1);
const list = (item: z.ZodType<string, string>) =>
  z.preprocess((value) => {
    if (typeof value !== 'string') return value;
    return value.split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
  }, z.array(item).min(1));
const integer = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value),
    z
      .number(`must be a whole number from ${String(min)} to ${String(max)}`)
      .int()
      .min(min)
      .max(max),
  );
const flag = z.preprocess(
  (value) => (value === 'true' || value === 'True' ? true : value === 'false' || value === 'False' ? false : value),
  z.boolean('must be true or false'),
);
const limits = z.preprocess(
  (value) => {
    if (typeof value !== 'string') return value;
    const pairs = value.split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
    return Object.fromEntries(
      pairs.map((pair) => {
        const at = pair.lastIndexOf('=');
        const limit = pair.slice(at + 1);
        return [at < 1 ? pair : pair.slice(0, at), at >= 1 && /^\d+$/.test(limit) ? Number(limit) : limit];
      }),
    );
  },
  z.record(z.string(), z.number('must be KEY=N, N a whole number from 1 to 10000').int().min(1).max(10_000)),
);
const secret = z.preprocess(
  (value) => (typeof value === 'string' && value !== '' ? new Secret(value) : value),
  z.instanceof(Secret),
);
const natsUrl = text.refine(
  (value) => value.split(',').every((part) => /^(?:(?:nats|tls):\/\/)?[^\s/]+$/.test(part.trim())),
  'must be nats://HOST:PORT (or tls://…), several separated by commas',
);

/** The table of settings. Names contain the unit. */
export const configSchema = z.object({
  natsUrl: natsUrl.default(DEFAULT_NATS_URL).register(facts, {
    help: 'NATS servers to connect to. The URL may contain user and password.',
    value: 'URL[,URL]',
  }),
  natsCreds: text.optional().register(facts, {
    help: 'NATS credentials file (JWT and NKey seed), read again at each reconnect.',
    value: 'FILE',
  }),
  natsToken: secret.optional().register(facts, {
    help: 'NATS token. Prefer the environment to the flag, which other users of the machine can read.',
    value: 'TOKEN',
  }),
  natsTokenFile: text
    .optional()
    .register(facts, { help: 'File with a NATS token, read again at each reconnect.', value: 'FILE' }),
  natsUser: text
    .optional()
    .register(facts, { help: 'NATS user; the password comes from natsPassFile.', value: 'USER' }),
  natsPassFile: text
    .optional()
    .register(facts, { help: 'File with the password of natsUser, read again at each reconnect.', value: 'FILE' }),
  natsTlsCa: text
    .optional()
    .register(facts, { help: 'CA certificates to verify the NATS server with; enables TLS.', value: 'FILE' }),
  natsTlsCert: text.optional().register(facts, { help: 'Client certificate for NATS.', value: 'FILE' }),
  natsTlsKey: text.optional().register(facts, { help: 'Key of the client certificate for NATS.', value: 'FILE' }),
  natsServer: text.optional().register(facts, {
    help: 'nats-server program for dev and demo. Default: from PATH, else from the cache.',
    value: 'FILE',
  }),
  subjectRoot: z
    .string()
    .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/, 'must be subject tokens separated by dots')
    .default(DEFAULT_SUBJECT_ROOT)
    .register(facts, { help: 'First tokens of every subject.', value: 'SUBJECT' }),
  assetPrefix: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,32}$/, 'must be 1 to 32 letters, digits, _ or -')
    .default(DEFAULT_ASSET_PREFIX)
    .register(facts, { help: 'Prefix of the names of streams and buckets.', value: 'PREFIX' }),
  replicas: z
    .preprocess(
      (value) => (typeof value === 'string' && /^\d$/.test(value) ? Number(value) : value),
      z.literal([1, 3, 5]),
    )
    .default(1)
    .register(facts, { help: 'Replicas of each stream and bucket that setup creates.', value: '1|3|5' }),
  tenant: text
    .refine(isTokenText, 'must be 1 to 128 characters once encoded as a subject token')
    .default(DEFAULT_TENANT)
    .register(facts, {
      help: 'Tenant whose runs a client command works with; a token of its subjects.',
      value: 'TENANT',
    }),
  queues: list(z.string().regex(QUEUE_PATTERN, 'a queue is 1 to 32 letters, digits, _ or -'))
    .default([DEFAULT_QUEUE])
    .register(facts, { help: 'Queues of workers: setup creates them, a worker serves them.', value: 'QUEUE[,QUEUE]' }),
  executorQueues: list(z.string().regex(QUEUE_PATTERN, 'a queue is 1 to 32 letters, digits, _ or -'))
    .default([DEFAULT_EXECUTOR_QUEUE])
    .register(facts, {
      help: 'Queues of executors: setup creates them, an executor serves them.',
      value: 'QUEUE[,QUEUE]',
    }),
  installation: z
    .string()
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/, 'must be a Kubernetes label value')
    .default('default')
    .register(facts, {
      help: 'Name of this installation, a label of every pod it creates. Unique per cluster.',
      value: 'ID',
    }),
  connections: text.optional().register(facts, {
    help: 'YAML or JSON file of clusters by name, each with kubeconfig, context, inCluster, namespace, xcomSidecar {image, resources, securityContext}.',
    value: 'FILE',
  }),
  kubeconfig: text.optional().register(facts, {
    help: 'Kubeconfig of the connection "default", where no connections file is given.',
    value: 'FILE',
    alsoEnv: 'KUBECONFIG',
  }),
  context: text
    .optional()
    .register(facts, { help: 'Context of that kubeconfig. Default: its current context.', value: 'CONTEXT' }),
  namespaces: list(z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a Kubernetes namespace name'))
    .optional()
    .register(facts, {
      help: 'Kubernetes namespaces to watch and to create pods in. Default: all.',
      value: 'NAMESPACE[,NAMESPACE]',
    }),
  podSecurity: z
    .enum(['baseline', 'restricted'])
    .default('baseline')
    .register(facts, { help: 'Pod Security Standard that every pod must meet.', value: 'LEVEL' }),
  policy: text.optional().register(facts, {
    help: 'YAML or JSON file with what each tenant may run, read again when it changes. Default: everything that podSecurity allows.',
    value: 'FILE',
  }),
  templateFolder: text
    .optional()
    .register(facts, { help: 'Folder of the pod templates that podTemplateFile names.', value: 'FOLDER' }),
  operators: list(text).optional().register(facts, {
    help: 'Modules that export your own operators, made by defineOperator.',
    value: 'FILE[,FILE]',
  }),
  callbacks: list(text).optional().register(facts, {
    help: 'Modules that export pod callbacks; requests name them by export.',
    value: 'FILE[,FILE]',
  }),
  keepPodSeconds: integer(0, 366 * 24 * 3600)
    .default(24 * 3600)
    .register(facts, {
      help: 'How long a retained pod is kept after its end; then a worker deletes it.',
      value: 'SECONDS',
    }),
  intakeCredits: integer(1, 10_000)
    .default(256)
    .register(facts, { help: 'Run requests that a worker accepts concurrently.', value: 'N' }),
  startCredits: integer(1, 10_000)
    .default(64)
    .register(facts, { help: 'Pods that a worker launches concurrently.', value: 'N' }),
  resumeCredits: integer(1, 10_000)
    .default(64)
    .register(facts, { help: 'Runs that a worker resumes concurrently.', value: 'N' }),
  ctlCredits: integer(1, 10_000)
    .default(64)
    .register(facts, { help: 'Cancels and orphaned pods that a worker handles concurrently.', value: 'N' }),
  minLoggingEveryMs: integer(5_000, 3_600_000).default(5_000).register(facts, {
    help: 'Shortest logging interval. Shorter ones in requests are stretched to it and counted in a metric.',
    value: 'MS',
  }),
  executorParallelism: integer(1, 1_000_000).default(32).register(facts, {
    help: 'Slots of an executor queue: most live pods at a time, over all of its executors.',
    value: 'N',
  }),
  executorLaunchConcurrency: integer(1, 1_000).default(64).register(facts, {
    help: 'Most pod creations that an executor has in flight; the actual limit adapts to the API server.',
    value: 'N',
  }),
  executorPodTemplateFile: text.optional().register(facts, {
    help: 'YAML file with the pod that command runs are based on; a request may name another one of templateFolder.',
    value: 'FILE',
  }),
  executorImage: text
    .optional()
    .register(facts, { help: 'Image of command runs that name none. Default: that of the template.', value: 'IMAGE' }),
  executorNamespace: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a Kubernetes namespace name')
    .optional()
    .register(facts, {
      help: 'Namespace of the pods of command runs. Default: that of the connection.',
      value: 'NAMESPACE',
    }),
  executorDeleteWorkerPods: flag
    .default(true)
    .register(facts, { help: 'Delete pods of command runs after the run has ended.', value: 'true|false' }),
  executorDeleteWorkerPodsOnFailure: flag.default(false).register(facts, {
    help: 'Delete also those that failed; otherwise they are retained, with a label.',
    value: 'true|false',
  }),
  executorPublishRetries: integer(-1, 1_000_000).default(-1).register(facts, {
    help: 'How often an attempt’s launch is postponed because of quota, throttling or a failing API server; -1: no limit.',
    value: 'N',
  }),
  executorQueuedTimeoutSeconds: integer(1, 31_622_400).default(600).register(facts, {
    help: 'How long a pod of a command run may take to start before it is replaced.',
    value: 'SECONDS',
  }),
  executorQueuedRetries: integer(0, 100).default(2).register(facts, {
    help: 'How often a pod that did not start in time is replaced without using a retry of the run.',
    value: 'N',
  }),
  concurrencyLimits: limits.default({}).register(facts, {
    help: 'Most runs of one tenant with the same concurrencyKey at a time; * stands for all other keys. A key without a limit has 1.',
    value: '[TENANT/]KEY=N[,…]',
  }),
  drainSeconds: integer(0, 3600).default(25).register(facts, {
    help: 'How long a role may take, once asked to stop, to finish the work in progress.',
    value: 'SECONDS',
  }),
  storageBytes: integer(64 * 1024 ** 2, Number.MAX_SAFE_INTEGER)
    .default(10 * 1024 ** 3)
    .register(facts, {
      help: 'Storage of all streams and buckets together; setup sets their limits from it.',
      value: 'BYTES',
    }),
  runRetentionDays: integer(1, 366).default(7).register(facts, {
    help: 'How long ended runs, requests, events and results are kept, and run ids stay idempotent.',
    value: 'DAYS',
  }),
  logRetentionDays: integer(1, 366)
    .default(3)
    .register(facts, { help: 'How long log chunks are kept.', value: 'DAYS' }),
  httpPort: integer(0, 65_535)
    .default(8080)
    .register(facts, { help: 'Port of a role’s /healthz, /readyz and /metrics; 0: any free port.', value: 'PORT' }),
  httpHost: text.default('0.0.0.0').register(facts, { help: 'Address that the port is opened on.', value: 'ADDRESS' }),
  logLevel: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .register(facts, { help: 'Least severe level that is logged.', value: 'LEVEL' }),
  logFormat: z
    .enum(['auto', 'json', 'pretty'])
    .default('auto')
    .register(facts, { help: 'Format of log lines; auto: pretty on a terminal, else JSON.', value: 'FORMAT' }),
  otelEndpoint: z
    .url({ protocol: /^https?$/, error: 'must be http://HOST:PORT' })
    .optional()
    .register(facts, {
      help: 'OTLP/HTTP collector for traces; /v1/traces is added. Default: no traces.',
      value: 'URL',
      alsoEnv: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    }),
  cacheFolder: text
    .optional()
    .register(facts, { help: 'Folder where dev keeps its installations. Default: the user’s cache.', value: 'FOLDER' }),
});

/** All settings of one process, validated and frozen. */
export type Config = Readonly<z.infer<typeof configSchema>>;
export type SettingName = keyof Config;

/** One row of the settings table, as help, README and chart show it. */
export interface Setting extends SettingFacts {
  readonly name: SettingName;
  readonly env: string;
  readonly flag: string;
  /** As text; absent: no default. */
  readonly default: string | undefined;
}

const names = configSchema.keyof().options;

/** Every setting in the table's order. */
export const SETTINGS: readonly Setting[] = names.map((name) => {
  const fact = facts.get(configSchema.shape[name]);
  if (fact === undefined) throw new TypeError(`setting ${name} has no description`);
  const words = name.replace(/[A-Z]/g, (letter) => `_${letter}`);
  const preset: unknown = configSchema.shape[name].safeParse(undefined).data;
  return {
    ...fact,
    name,
    env: `REENTRY_${words.toUpperCase()}`,
    flag: `--${words.replaceAll('_', '-').toLowerCase()}`,
    default: preset === undefined ? undefined : typeof preset === 'string' ? preset : listed(preset),
  };
});

function listed(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : JSON.stringify(value);
}

/** Environment variable with the path of the settings file; not a setting itself. */
export const CONFIG_FILE_ENV = 'REENTRY_CONFIG';

/** Where settings come from; `file` is the parsed settings file. Flags are keyed by setting name. */
export interface ConfigSources {
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly file?: { readonly name: string; readonly content: unknown };
  /** Discovered values, such as the broker of a running `reentry dev`. Overridden by all other sources. */
  readonly found?: Partial<Readonly<Record<SettingName, string>>>;
}

/**
 * Validates all settings together. Pure.
 * @throws ReentryError CONFIG_INVALID with every problem, each under the name that the user wrote
 */
export function parseConfig(sources: ConfigSources): Config {
  const problems: Problem[] = [];
  const chosen: Partial<Record<SettingName, unknown>> = {};
  const origin: Partial<Record<SettingName, string>> = {};
  const file = fileSettings(sources.file, problems);
  const env = sources.env ?? {};
  const known = SETTINGS.map((setting) => setting.env);
  for (const key of Object.keys(env)) {
    if (!key.startsWith('REENTRY_') || key === CONFIG_FILE_ENV || known.includes(key)) continue;
    // Others use the prefix too (Kubernetes sets such variables for a Service named reentry), so only near misses are rejected.
    const typo = known.find((name) => distance(key, name) <= 2);
    if (typo !== undefined) problems.push({ path: key, message: unknown('setting', key, known) });
  }
  for (const setting of SETTINGS) {
    const candidates: readonly (readonly [string, unknown])[] = [
      [setting.flag, sources.flags?.[setting.name]],
      [setting.env, filled(env[setting.env])],
      [setting.alsoEnv ?? '', setting.alsoEnv === undefined ? undefined : filled(env[setting.alsoEnv])],
      [`${sources.file?.name ?? ''}: ${setting.name}`, file[setting.name]],
      ['found', sources.found?.[setting.name]],
    ];
    const first = candidates.find(([, value]) => value !== undefined && value !== null);
    if (first === undefined) continue;
    [origin[setting.name], chosen[setting.name]] = first;
  }
  for (const [one, other] of TOGETHER)
    if (chosen[one] !== undefined && chosen[other] === undefined)
      problems.push({ path: origin[one] ?? one, message: `requires ${nameOf(other)} as well` });
  const parsed = configSchema.safeParse(chosen);
  for (const issue of parsed.error?.issues ?? []) {
    const name = names.find((candidate) => candidate === issue.path[0]);
    problems.push({ path: name === undefined ? '$' : (origin[name] ?? name), message: withinValue(issue) });
  }
  if (!parsed.success || problems.length > 0) {
    const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
    throw new ReentryError('CONFIG_INVALID', `invalid settings:\n${lines.join('\n')}`, {
      transient: false,
      problems,
    });
  }
  return Object.freeze(parsed.data);
}

/** Settings that require another one. */
const TOGETHER: readonly (readonly [SettingName, SettingName])[] = [
  ['natsTlsCert', 'natsTlsKey'],
  ['natsTlsKey', 'natsTlsCert'],
];

const nameOf = (name: SettingName): string => SETTINGS.find((setting) => setting.name === name)?.env ?? name;

/** The message of an issue, with its position in a value of several parts. */
function withinValue({ path: [, part], message }: z.core.$ZodIssue): string {
  if (part === undefined) return message;
  return `${typeof part === 'number' ? `part ${String(part + 1)}` : String(part)}: ${message}`;
}

function filled(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}

function unknown(what: string, word: string, known: readonly string[]): string {
  return `unknown ${what}${didYouMean(word, known)}`;
}

function fileSettings(file: ConfigSources['file'], problems: Problem[]): Readonly<Record<string, unknown>> {
  if (file === undefined || file.content === null || file.content === undefined) return {};
  const content = z.record(z.string(), z.unknown()).safeParse(file.content);
  if (!content.success) {
    problems.push({ path: file.name, message: 'must be a mapping of setting names to values' });
    return {};
  }
  for (const key of Object.keys(content.data)) {
    if (!names.some((name) => name === key))
      problems.push({ path: `${file.name}: ${key}`, message: unknown('setting', key, names) });
  }
  return content.data;
}

/**
 * Parses YAML or JSON. @param options `intAsBigInt`: whole numbers become `bigint`, so that `1.0` differs from `1`; default false
 * @throws ReentryError CONFIG_INVALID naming the file and position
 */
export function parseYamlFile(
  name: string,
  content: string,
  options: { readonly intAsBigInt?: boolean } = {},
): unknown {
  try {
    const value: unknown = parseYaml(content, options);
    return value;
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new ReentryError('CONFIG_INVALID', `${name} is not valid YAML or JSON: ${why}`, { transient: false, cause });
  }
}

/** The settings of a process that is given none: the defaults. */
export const DEFAULT_CONFIG: Config = parseConfig({});
