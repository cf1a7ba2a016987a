/** Several roles in one process, with their health endpoint, log and metrics. */
import { firstValueFrom, merge, ReplaySubject, take } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Config } from '../config.ts';
import type { Log } from '../ports/ambient.ts';
import { openLog, openTelemetry } from '../telemetry.ts';
import type { LogDestination, Telemetry } from '../telemetry.ts';
import { openHealth } from './health.ts';
import type { Condition, Health } from './health.ts';
import type { Role } from './roles.ts';
import { runRole } from './run-role.ts';
import type { RoleHost } from './run-role.ts';

/** What the roles of a process share. */
interface RolesHost extends Pick<RoleHost, 'config' | 'env' | 'stop$'> {
  readonly version: string;
  readonly logOf: (role: Role) => Log;
  readonly telemetry: Telemetry;
  readonly health: Health;
}

/** Roles that run. */
export interface RunningRoles {
  readonly condition: () => Condition;
  /** Resolves when they were asked to stop, or one of them failed, which stops the others. */
  readonly stopping: Promise<unknown>;
  /** Settles when all have ended; rejects with the error of the first that failed. */
  readonly ended: Promise<void>;
}

/** Runs roles side by side until `stop$` emits or one of them fails. */
export function runRoles(roles: readonly Role[], host: RolesHost): RunningRoles {
  const { config, env, version, logOf, telemetry, health } = host;
  const failed$ = new ReplaySubject<void>(1);
  const stop$ = merge(host.stop$, failed$).pipe(take(1));
  const conditions: (() => Condition)[] = [];
  const condition = (): Condition => {
    const all = conditions.map((of) => of());
    const missing = conditions.length < roles.length ? ['starting'] : [];
    return {
      alive: all.every(({ alive }) => alive),
      ready: missing.length === 0 && all.every(({ ready }) => ready),
      problems: [...new Set([...missing, ...all.flatMap(({ problems }) => problems)])],
    };
  };
  health.watch(condition);
  const stopping = firstValueFrom(stop$, { defaultValue: undefined });
  const running = roles.map((role) =>
    runRole(role, {
      ...{ config, env, stop$, version, log: logOf(role), meter: telemetry.meter },
      onStarted: (of) => {
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

/** Runs the process of one role or several: health endpoint, log, metrics, roles. Resolves when they have stopped. */
export async function roleProcess(
  roles: readonly Role[],
  host: {
    readonly config: Config;
    readonly env: RoleHost['env'];
    readonly stop$: Observable<unknown>;
    readonly version: string;
    readonly stderr: LogDestination;
  },
): Promise<void> {
  const { config, stderr, ...rest } = host;
  const logOf = (name: string): Log => openLog(config, name, stderr);
  const log = logOf(roles.join('+'));
  const telemetry = openTelemetry(log);
  // First, so that probes of a starting process get an answer.
  await using health = await openHealth({ host: config.httpHost, port: config.httpPort, telemetry });
  log.info({ port: health.port }, 'serving health and metrics');
  await runRoles(roles, { config, ...rest, logOf, telemetry, health }).ended;
}
