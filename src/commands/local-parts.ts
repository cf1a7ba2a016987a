/** Broker and cluster on this machine, for `dev` and `demo`. */
import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';
import { messageOf, ReentryError } from '../errors.ts';
import type { Shell } from './shell.ts';

/** Running broker and cluster, and the settings to reach them. Disposing stops both. */
export interface LocalParts extends AsyncDisposable {
  readonly config: Config;
  readonly natsUrl: string;
  /** Absent where the user's own cluster is given by context only. */
  readonly kubeconfig: string | undefined;
  readonly clusterIsLocal: boolean;
}

/** Starts nats-server and, unless the user named a cluster, the local cluster. */
export async function startLocalParts(options: {
  readonly config: Config;
  readonly env: Shell['env'];
  /** Cache folder for a downloaded nats-server. */
  readonly cacheFolder: string;
  readonly natsFolder: string;
  /** Preferred ports of the broker, in order. Default, or if none is free: any free port. */
  readonly natsPorts?: readonly number[];
  readonly clusterFolder: string;
  /** The user's own cluster. From flags only, so that `dev` never uses a cluster by accident. */
  readonly cluster: { readonly kubeconfig?: string | undefined; readonly context?: string | undefined } | undefined;
  readonly progress: (text: string) => void;
}): Promise<LocalParts> {
  const { config, cluster, progress } = options;
  const [{ findNatsServer, startNatsServer }, { onFirstFreePort }, { startLocalCluster }] = await Promise.all([
    import('../local/nats-server.ts'),
    import('../local/first-free-port.ts'),
    import('../local/cluster.ts'),
  ]);
  await using parts = new AsyncDisposableStack();
  const { program } = await findNatsServer({
    explicitPath: config.natsServer,
    path: options.env['PATH'],
    cacheDirectory: options.cacheFolder,
    progress,
  });
  const nats = parts.use(
    await onFirstFreePort(options.natsPorts ?? [], (port) =>
      startNatsServer({ program, directory: options.natsFolder, port }),
    ),
  );
  const kubeconfig = cluster === undefined ? (await startCluster()).kubeconfigPath : cluster.kubeconfig;
  const owned = parts.move();
  return {
    natsUrl: nats.url,
    kubeconfig,
    clusterIsLocal: cluster === undefined,
    config: Object.freeze({
      ...config,
      connections: undefined,
      natsUrl: nats.url,
      // Installations of different directories may share the user's cluster.
      installation: config.installation === 'default' ? installationOf(options.natsFolder) : config.installation,
      kubeconfig,
      context: cluster?.context,
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };

  async function startCluster() {
    try {
      return parts.use(await startLocalCluster({ directory: options.clusterFolder, log: progress }));
    } catch (cause) {
      const why = messageOf(cause);
      throw new ReentryError(
        'LOCAL_CLUSTER',
        `cannot start the local cluster: ${why}. Use your own cluster with --kubeconfig or --context.`,
        {
          transient: false,
          cause,
        },
      );
    }
  }
}

function installationOf(folder: string): string {
  return `dev-${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`;
}
