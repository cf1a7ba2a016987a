import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNats, type Connection } from '../../src/nats/connection.ts';
import { startNatsServer } from '../../src/local/nats-server.ts';
import { natsServerProgram } from './nats-server.ts';
import type { ClusterUnderTest } from './kubernetes.ts';
import { type ReentryProcess, runReentry, startReentry } from './processes.ts';

/** The roles of an installation's processes; `serve` is worker and triggerer in one process. */
export type RoleName = 'worker' | 'triggerer' | 'executor' | 'serve';

/** Broker, cluster and roles, each in its own process. */
export interface RunningInstallation extends AsyncDisposable {
  readonly nats: { readonly url: string };
  /** The test's own connection to the broker: with no user configured it may do everything. */
  readonly connection: Connection;
  readonly namespace: string;
  readonly env: Readonly<Record<string, string>>;
  readonly roles: readonly { readonly name: RoleName; readonly process: ReentryProcess }[];
  /** `env`: further settings of this process. `args`: of the command. */
  start(name: RoleName, env?: Readonly<Record<string, string>>, args?: readonly string[]): ReentryProcess;
  /** Kills the broker with -9 and, after `meanwhile`, starts it again on the same port, with the same streams; resolves when it answers. */
  restartBroker(meanwhile?: () => Promise<void>): Promise<void>;
  /** Kills the broker, deletes all that it had stored, and starts it again on the same port. */
  loseBrokerData(): Promise<void>;
  /** Asks one role's process to stop, waits until it has drained, and starts another in its place. Returns its exit code. */
  restart(index: number): Promise<number | string>;
  /** Kills one role's process with -9 and starts another in its place. */
  replace(index: number): void;
}

/** Starts `workers` and `triggerers` on a new server, or on `broker`, in a new namespace. */
export async function startInstallation(
  target: ClusterUnderTest,
  counts: {
    readonly workers: number;
    readonly triggerers: number;
    /** Further settings of these roles. */
    readonly env?: Readonly<Record<string, string>>;
  },
  broker?: { readonly url: string; readonly replicas: number },
): Promise<RunningInstallation> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-installation-'));
  const program = await natsServerProgram();
  let nats = broker === undefined ? await startNatsServer({ program, directory }) : undefined;
  const url = nats?.url ?? broker?.url ?? '';
  const namespace = await target.namespace();
  const env = {
    REENTRY_NATS_URL: url,
    REENTRY_NAMESPACES: namespace,
    REENTRY_INSTALLATION: namespace,
    REENTRY_HTTP_PORT: '0',
    REENTRY_HTTP_HOST: '127.0.0.1',
    KUBECONFIG: target.kubeconfig,
  };
  const made = await runReentry(['setup', '--replicas', String(broker?.replicas ?? 1)], env);
  if (made.code !== 0) throw new Error(`setup ended with ${String(made.code)}: ${made.stderr}`);
  const connection = await connectNats({ servers: url, name: 'test', role: 'setup' });

  const roles: { name: RoleName; process: ReentryProcess; spawnAgain: () => ReentryProcess }[] = [];
  const start: RunningInstallation['start'] = (name, more = {}, args = []) => {
    const spawnAgain = () => startReentry([name, ...args], { ...env, ...more }, directory);
    const started = spawnAgain();
    roles.push({ name, process: started, spawnAgain });
    return started;
  };
  for (let n = 0; n < counts.workers; n += 1) start('worker', counts.env);
  for (let n = 0; n < counts.triggerers; n += 1) start('triggerer', counts.env);

  /** Kills the broker with -9, and starts it again on its port. */
  const again = async (meanwhile: () => Promise<void>): Promise<void> => {
    if (nats === undefined) throw new TypeError('the broker was not started by this installation');
    const { port } = nats;
    await nats.kill();
    await meanwhile();
    nats = await startNatsServer({ program, directory, port });
  };

  return {
    nats: { url },
    restartBroker: (meanwhile = () => Promise.resolve()) => again(meanwhile),
    loseBrokerData: () => again(() => rm(join(directory, 'jetstream'), { recursive: true, force: true })),
    connection,
    namespace,
    env,
    roles,
    start,
    async restart(index) {
      const role = roles[index];
      if (role === undefined) throw new RangeError(`no role ${String(index)}`);
      role.process.kill('SIGTERM');
      const code = await role.process.ended;
      role.process = role.spawnAgain();
      return code;
    },
    replace(index) {
      const role = roles[index];
      if (role === undefined) throw new RangeError(`no role ${String(index)}`);
      role.process.kill('SIGKILL');
      role.process = role.spawnAgain();
    },
    async [Symbol.asyncDispose]() {
      for (const role of roles) await role.process[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
      await nats?.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
