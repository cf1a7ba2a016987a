/** Roles, from settings to their end: what `worker`, `triggerer`, `executor`, `serve` and `dev` share. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { firstValueFrom, merge, ReplaySubject, take, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { parseConnections } from '../config.ts';
import { accessText, CLUSTER_ACCESS } from '../core/rbac.ts';
import type { Config, ConnectionSettings } from '../config.ts';
import { ReentryError } from '../errors.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Broker } from '../ports/broker.ts';
import type { Cluster } from '../ports/cluster.ts';
import { openLog, openTelemetry } from '../telemetry.ts';
import type { Telemetry } from '../telemetry.ts';
import { natsOptions } from '../commands/connection.ts';
import { EXIT_CODES } from '../commands/exit-codes.ts';
import type { ExitCode } from '../commands/exit-codes.ts';
import { openHealth } from './health.ts';
import type { Condition, Health } from './health.ts';
import type { Role } from './role.ts';
import { BEGINNINGS } from './role-beginnings.ts';
import { readText } from '../commands/shell.ts';
import { operatorsFrom } from './user-modules.ts';
import type { Invocation, Shell } from '../commands/shell.ts';

/** The named clusters that settings speak of; without a connections file: one, `default`, as kubectl would find it. */
export async function connectionsOf(config: Config): Promise<Readonly<Record<string, ConnectionSettings>>> {
  if (config.connections !== undefined) return parseConnections(config.connections, await readText(config.connections));
  return {
    default: {
      ...(config.kubeconfig === undefined ? {} : { kubeconfig: config.kubeconfig }),
      ...(config.context === undefined ? {} : { context: config.context }),
    },
  };
}

/** Runs a role in this process until it has stopped; errors with what it cannot go on without. */
export async function runRole(
  role: Role,
  settings: {
    readonly config: Config;
    readonly env: Shell['env'];
    readonly stop$: Observable<unknown>;
    readonly version?: string;
    readonly log: Log;
    readonly meter: Meter;
    readonly operators?: readonly DefinedOperator[];
    readonly callbacks?: CallbackRegistry;
    /** Called once the role has begun. */
    readonly begun: (condition: () => Condition) => void;
  },
): Promise<void> {
  const { config, env, stop$, log, meter } = settings;
  const [{ openBroker }, { openClusters }, { run }, begin] = await Promise.all([
    import('../nats/broker.ts'),
    import('../kubernetes/clusters.ts'),
    import('../run.ts'),
    BEGINNINGS[role](),
  ]);
  const operators = [...(await operatorsFrom(config.operators, process.cwd())), ...(settings.operators ?? [])];
  const id = `${hostname()}-${String(process.pid)}-${randomBytes(3).toString('hex')}`;
  const waiting = new AbortController();
  const stopped = firstValueFrom(stop$.pipe(take(1)), { defaultValue: undefined }).then(() => {
    waiting.abort();
  });
  await using clusters = openClusters({
    ...{ connections: await connectionsOf(config), env, log },
    onPod: (became, connection) => {
      meter.count(`pods_${became}_total`, { connection });
    },
  });
  const options = natsOptions(config);
  const opening = openBroker({
    ...options,
    name: `reentry-${role}-${id}`,
    role,
    waitForServer: true,
    signal: waiting.signal,
    log,
  });
  await using broker = await opening.catch((error: unknown) => {
    throw waiting.signal.aborted
      ? new ReentryError('DRAIN_OVERDUE', 'stopped while it waited for NATS', { transient: false, cause: error })
      : error;
  });
  await patiently(() => assertSetUp(broker), log, stop$);
  for (const connection of clusters.names)
    await patiently(() => assertAllowed(role, clusters.get(connection), config.namespaces, log), log, stop$);
  if (waiting.signal.aborted) return;
  const { callbacks = {} } = settings;
  // The library is loaded only where its spans go somewhere: it costs memory.
  await using tracing =
    config.otelEndpoint === undefined || role === 'triggerer' // which makes no spans
      ? undefined
      : (await import('../tracing.ts')).openTracer({ endpoint: config.otelEndpoint, role, id });
  const { work$, condition } = await begin({
    id,
    config,
    broker,
    clusters,
    log,
    meter,
    operators,
    callbacks,
    tracer: tracing,
    version: settings.version ?? '',
  });
  settings.begun(condition);
  log.info(
    {
      id,
      queues: role === 'executor' ? config.executorQueues : config.queues,
      connections: clusters.names,
      namespaces: config.namespaces ?? 'all',
    },
    `${role} begins`,
  );
  await run(work$, stop$, config.drainSeconds * 1_000);
  await stopped;
  log.info({ id }, `${role} has stopped`);
}

/** What every role of a process is given. */
interface ProcessParts {
  readonly config: Config;
  readonly env: Shell['env'];
  readonly stop$: Observable<unknown>;
  readonly version: string;
  readonly logOf: (role: Role) => Log;
  readonly telemetry: Telemetry;
  readonly health: Health;
}

/** Several roles in one process. */
export interface RunningRoles {
  readonly condition: () => Condition;
  /** Resolves when they are told to stop, or one of them has failed: one alone is of no use. */
  readonly stopping: Promise<unknown>;
  /** Settles when all have ended; rejects with what one of them could not go on without. */
  readonly ended: Promise<void>;
}

/** Runs roles side by side until they are told to stop. */
export function runRoles(roles: readonly Role[], parts: ProcessParts): RunningRoles {
  const { config, env, version, logOf, telemetry, health } = parts;
  const failed$ = new ReplaySubject<void>(1);
  const stop$ = merge(parts.stop$, failed$).pipe(take(1));
  const conditions: (() => Condition)[] = [];
  const condition = (): Condition => {
    const all = conditions.map((of) => of());
    const missing = conditions.length < roles.length ? ['starting'] : [];
    return {
      alive: all.every(({ alive }) => alive),
      problems: [...missing, ...all.flatMap(({ problems }) => problems)],
    };
  };
  health.watch(condition);
  const stopping = firstValueFrom(stop$, { defaultValue: undefined });
  const running = roles.map((role) =>
    runRole(role, {
      ...{ config, env, stop$, version, log: logOf(role), meter: telemetry.meter },
      begun: (of) => {
        conditions.push(of);
      },
    }).finally(() => {
      failed$.next();
    }),
  );
  const ended = Promise.allSettled(running).then((outcomes) => {
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  });
  return { condition, stopping, ended };
}

/** The process of one role or several: endpoint, log, metrics, roles. Answers when they have stopped. */
export async function roleProcess(roles: readonly Role[], { shell, config, json }: Invocation): Promise<ExitCode> {
  const logOf = (name: string): Log =>
    openLog({ ...config, logFormat: json ? 'json' : config.logFormat }, name, shell.stderr);
  const log = logOf(roles.join('+'));
  const telemetry = openTelemetry(log);
  // First of all, so that whoever starts this process can ask how far it is.
  await using health = await openHealth({ host: config.httpHost, port: config.httpPort, telemetry });
  log.info({ port: health.port }, 'health and metrics are served');
  const parts = { config, env: shell.env, stop$: shell.stop$, version: shell.version, logOf, telemetry, health };
  await runRoles(roles, parts).ended;
  return EXIT_CODES.ok;
}

/** @throws ReentryError NATS_MISMATCH when streams or buckets are missing */
async function assertSetUp(broker: Broker): Promise<void> {
  try {
    await broker.fill();
  } catch (cause) {
    if (cause instanceof ReentryError && cause.transient) throw cause;
    throw new ReentryError(
      'NATS_MISMATCH',
      'the NATS server has not been set up for reentry (streams or buckets are missing); run `reentry setup`',
      {
        transient: false,
        cause,
      },
    );
  }
}

/** @throws ReentryError FORBIDDEN naming every permission that is missing, and where */
async function assertAllowed(
  role: Role,
  cluster: Cluster,
  namespaces: readonly string[] | undefined,
  log: Log,
): Promise<void> {
  const { connection } = cluster;
  const wanted = (namespaces ?? [undefined]).flatMap((namespace) =>
    CLUSTER_ACCESS[role].map((access) => ({ ...access, ...(namespace === undefined ? {} : { namespace }) })),
  );
  const lacking = new Set(await cluster.missingPermissions(wanted));
  const spared = wanted.filter((access) => access.onlyFor === 'results').map(accessText);
  const missing = [...lacking].filter((text) => !spared.includes(text));
  if (missing.length < lacking.size)
    log.warn({ connection, missing: [...lacking] }, 'results cannot be read from sidecars; xcomMode message works');
  if (missing.length === 0) return;
  const where = namespaces === undefined ? 'in all namespaces' : `in ${namespaces.join(', ')}`;
  throw new ReentryError(
    'FORBIDDEN',
    `connection ${connection} lacks permissions ${where} that a ${role} needs: ${missing.join(', ')}; grant them by a Role or ClusterRole, or name fewer namespaces in REENTRY_NAMESPACES`,
    { transient: false },
  );
}

/** What a role looks at before it begins. What passes (a broker that elects its leader, an API that restarts) is waited for: ending would only be a crash loop. */
async function patiently(look: () => Promise<void>, log: Log, stop$: Observable<unknown>): Promise<void> {
  for (let pauseMs = 250; ; pauseMs = Math.min(pauseMs * 2, 5_000)) {
    try {
      await look();
      return;
    } catch (error) {
      if (!(error instanceof ReentryError) || !error.transient) throw error;
      log.warn({ code: error.code }, `${error.message}; trying again in ${String(pauseMs)} ms`);
      if ((await firstValueFrom(merge(timer(pauseMs), stop$), { defaultValue: 0 })) !== 0) return;
    }
  }
}
