/** One role, from settings to its end: connect, check, start, run, drain. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { firstValueFrom, merge, take, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Config } from '../config.ts';
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
  await using clusters = openClusters({
    ...{ connections: await connectionsOf(config), env, log },
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
  const parts = { id, version, config, broker, clusters, states, log, meter, operators, callbacks, tracer };
  const { work$, condition } = await start(parts);
  host.onStarted(() => withConnections(condition(), states));
  log.info(
    {
      id,
      queues: role === 'executor' ? config.executorQueues : config.queues,
      connections: clusters.names,
      namespaces: config.namespaces ?? 'all',
    },
    `${role} started`,
  );
  const checked$ = (stopped$: typeof stop$) => merge(work$(stopped$), states.checks$.pipe(takeUntil(stopped$)));
  await run(checked$, stop$, config.drainSeconds * 1_000);
  await stopped;
  log.info({ id }, `${role} stopped`);
}

/** Ready as long as one connection works; what is wrong with the others is shown. */
function withConnections({ alive, ready, problems }: Condition, states: ConnectionStates): Condition {
  return { alive, ready: ready && states.isUsable, problems: [...problems, ...states.problems] };
}
