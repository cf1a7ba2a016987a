/** One role, from settings to its end: connect, check, start, run, drain. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { firstValueFrom, merge, take, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import { parseConnections } from './connections-file.ts';
import type { Config } from '../config.ts';
import type { Policy } from '../policy/policy.ts';
import { WatchedFile } from './watched-file.ts';
import { ReentryError } from '../errors.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import { ConnectionStates } from './connection-states.ts';
import { connectionsOf, natsOptions } from './connections.ts';
import type { Condition } from './health.ts';
import { ROLE_STARTERS } from './roles.ts';
import type { Role } from './roles.ts';
import { checkStart } from './start-checks.ts';
import { operatorsFrom } from './user-modules.ts';

/** What a role needs of its process. */
export interface RoleHost {
  readonly config: Config;
  /** For kubeconfig and in-cluster credentials. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stop$: Observable<unknown>;
  readonly version?: string;
  readonly log: Log;
  readonly meter: Meter;
  /** Operators of the caller, in addition to `pod`. Default: none. */
  readonly operators?: readonly DefinedOperator[];
  /** Pod callbacks of the caller, in addition to those of the settings. Default: none. */
  readonly callbacks?: CallbackRegistry;
  /** Called once the role has started. */
  readonly onStarted: (condition: () => Condition) => void;
}

/**
 * Runs a role until `stop$` emits and its work is drained.
 * @throws ReentryError CONFIG_INVALID, NATS_MISMATCH (run `reentry setup`), DRAIN_OVERDUE
 */
export async function runRole(role: Role, host: RoleHost): Promise<void> {
  const { config, env, stop$, log, meter, callbacks = {}, version = '' } = host;
  const [{ openBroker }, { openClusters }, { run }, start] = await Promise.all([
    import('../nats/broker.ts'),
    import('../kubernetes/clusters.ts'),
    import('../run.ts'),
    ROLE_STARTERS[role](),
  ]);
  const operators = [...(await operatorsFrom(config.operators, process.cwd())), ...(host.operators ?? [])];
  const id = `${hostname()}-${String(process.pid)}-${randomBytes(3).toString('hex')}`;
  const stopping = new AbortController();
  const stopped = firstValueFrom(stop$.pipe(take(1)), { defaultValue: undefined }).then(() => {
    stopping.abort();
  });
  // Without connections there is nothing to do: an invalid file ends the start, with the reason.
  const configured = await connectionsOf(config);
  const connections = connectionsFile(config, { log, meter });
  await using clusters = openClusters({
    ...{ connections: configured, env, log },
    onPod: (operation, connection) => {
      meter.count(`pods_${operation}_total`, { connection });
    },
  });
  const opening = openBroker({
    ...natsOptions(config),
    name: `reentry-${role}-${id}`,
    role,
    waitForServer: true,
    signal: stopping.signal,
    log,
  });
  await using broker = await opening.catch((error: unknown) => {
    throw stopping.signal.aborted
      ? new ReentryError('DRAIN_OVERDUE', 'stopped while waiting for the NATS server', {
          transient: false,
          cause: error,
        })
      : error;
  });
  await checkStart(broker, { log, stop$ });
  if (stopping.signal.aborted) return;
  // The tracing library costs memory: it is loaded only where spans are made and sent. A triggerer makes none.
  await using tracer =
    config.otelEndpoint === undefined || role === 'triggerer'
      ? undefined
      : (await import('../tracing.ts')).openTracer({ endpoint: config.otelEndpoint, role, id });
  const states = new ConnectionStates({ role, clusters, namespaces: config.namespaces, log, meter });
  const policy = role === 'triggerer' ? undefined : await policyFile(config, { log, meter });
  const files = [policy, connections].filter((file) => file !== undefined);
  const parts = { id, version, config, broker, clusters, states, policy, log, meter, operators, callbacks, tracer };
  const { work$, condition } = await start(parts);
  host.onStarted(() => {
    const { alive, ready, problems } = condition();
    return {
      alive,
      // As long as one connection works; what is wrong with the others is shown.
      ready: ready && states.isUsable && files.every(({ value }) => value !== undefined),
      problems: [...problems, ...states.problems, ...files.flatMap(({ problem }) => problem ?? [])],
    };
  });
  log.info(
    {
      id,
      queues: role === 'executor' ? config.executorQueues : config.queues,
      connections: clusters.names,
      namespaces: config.namespaces ?? 'all',
    },
    `${role} started`,
  );
  const checks$ = merge(states.checks$, ...files.map(({ looks$ }) => looks$));
  const checked$ = (stopped$: typeof stop$) => merge(work$(stopped$), checks$.pipe(takeUntil(stopped$)));
  await run(checked$, stop$, config.drainSeconds * 1_000);
  await stopped;
  log.info({ id }, `${role} stopped`);
}

/** The policy file; `undefined` where none is configured. Its parser is loaded only then. */
async function policyFile(
  { policy: path }: Config,
  ambient: Pick<RoleHost, 'log' | 'meter'>,
): Promise<WatchedFile<Policy> | undefined> {
  if (path === undefined) return undefined;
  const { parsePolicy } = await import('../policy/policy-file.ts');
  return new WatchedFile({ kind: 'policy', path, parse: parsePolicy, ...ambient });
}

/** The connections file, to report changes that the next start would not survive; `undefined` where there is none. */
function connectionsFile(
  { connections: path }: Config,
  ambient: Pick<RoleHost, 'log' | 'meter'>,
): WatchedFile<unknown> | undefined {
  if (path === undefined) return undefined;
  return new WatchedFile({ kind: 'connections', path, parse: parseConnections, ...ambient });
}
