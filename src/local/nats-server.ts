import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import { tied } from './tied-command.ts';

export { findNatsServer } from './find-nats-server.ts';

const READY_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 10_000;

/** How to start a server. */
export interface NatsServerOptions {
  readonly program: string;
  /** Directory of its streams, configuration and log; existing content is used again. */
  readonly directory: string;
  /** TCP port on 127.0.0.1. Default: any free one. The same port gives the same URL. */
  readonly port?: number | undefined;
  /** More lines for its configuration file: users, TLS, a cluster. */
  readonly config?: string | undefined;
}

/** A running server. Disposing it stops it; the end of this process does too, on Linux even after `kill -9`. */
export interface NatsServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server's process has ended, for whatever reason. */
  readonly ended: Promise<void>;
  /** Stops it gracefully; resolves when the process has ended. */
  stop(): Promise<void>;
  /** Kills it with SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>;
}

const portsSchema = z.object({ nats: z.array(z.string()).min(1) });

/**
 * Starts nats-server with JetStream on loopback and waits until it accepts connections.
 * @throws ReentryError NATS_UNAVAILABLE with the end of its log when it does not start
 */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const { directory } = options;
  await mkdir(join(directory, 'ports'), { recursive: true, mode: 0o700 });
  const configFile = join(directory, 'nats-server.conf');
  const logFile = join(directory, 'nats-server.log');
  await writeFile(
    configFile,
    [
      'listen: "127.0.0.1:' + String(options.port ?? -1) + '"',
      `ports_file_dir: ${JSON.stringify(join(directory, 'ports'))}`,
      `logfile: ${JSON.stringify(logFile)}`,
      'max_payload: 1MB',
      // Without this, the server would limit streams to a share of the disk space that happens to be free.
      `jetstream { store_dir: ${JSON.stringify(join(directory, 'jetstream'))}, max_file_store: 64GB }`,
      options.config ?? '',
      '',
    ].join('\n'),
    { mode: 0o600 },
  );

  const child = spawn(...(await tied([options.program, '--config', configFile])), {
    stdio: 'ignore',
    // Ctrl-C on a terminal is sent to the whole process group, but the server must outlive roles that drain.
    detached: true,
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.once('error', () => {
      resolve();
    });
  });
  const onExit = () => {
    child.kill('SIGKILL');
  };
  process.once('exit', onExit);
  void ended.then(() => process.off('exit', onExit));
  const end = async (signal: NodeJS.Signals) => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) child.kill(signal);
    await ended;
  };

  const pid = child.pid ?? -1;
  const portsFile = join(directory, 'ports', `${basename(options.program)}_${pid}.ports`);
  const deadline = Date.now() + READY_WITHIN_MS;
  let state: 'running' | 'ended' = 'running';
  void ended.then(() => (state = 'ended'));
  const failed = async () => {
    const log = await readFile(logFile, 'utf8').catch(() => '');
    await end('SIGKILL');
    return new ReentryError(
      'NATS_UNAVAILABLE',
      `nats-server did not start; its log ends with:\n${log.split('\n').slice(-8).join('\n')}`,
      {
        transient: false,
      },
    );
  };
  for (;;) {
    const port = await portOf(portsFile);
    if (port !== undefined && (await answers(port))) {
      await rm(portsFile, { force: true });
      const server: NatsServer = {
        url: `nats://127.0.0.1:${port}`,
        port,
        pid,
        ended,
        async stop() {
          child.kill('SIGTERM');
          const late = new AbortController();
          await Promise.race([ended, pause(STOP_WITHIN_MS, undefined, { signal: late.signal }).catch(() => undefined)]);
          late.abort();
          await end('SIGKILL');
        },
        kill: () => end('SIGKILL'),
        [Symbol.asyncDispose]: () => server.stop(),
      };
      return server;
    }
    if (isEnded() || Date.now() > deadline) throw await failed();
    await pause(20);
  }

  function isEnded() {
    return state === 'ended';
  }
}

async function portOf(portsFile: string): Promise<number | undefined> {
  try {
    const { nats } = portsSchema.parse(JSON.parse(await readFile(portsFile, 'utf8')));
    return Number(new URL(nats[0] ?? '').port);
  } catch {
    return undefined; // not written yet, or only partly
  }
}

/** Whether a NATS server greets on a port. */
async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    const [data] = z.array(z.unknown()).parse(await once(socket, 'data', { signal: AbortSignal.timeout(1_000) }));
    return Buffer.isBuffer(data) && data.toString().startsWith('INFO');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
