/** Named connections to clusters: the port `Clusters`. */
import { env as processEnvironment } from 'node:process';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, Clusters } from '../ports/cluster.ts';
import { HttpCluster, type PodWrite } from './cluster.ts';
import type { Environment } from './kubeconfig.ts';
import { type ConnectionSettings, TUNING, type Tuning } from './settings.ts';

export type { ConnectionSettings, Tuning } from './settings.ts';

/**
 * Opens all named connections: reads kubeconfigs, sends nothing.
 * `env`: environment for `KUBECONFIG`, the in-cluster address and credential plugins; default: of this process. `tuning`: overrides of
 * `TUNING`.
 * @throws ReentryError CONFIG_INVALID when a kubeconfig, context or service account is missing
 */
export function openClusters(options: {
  readonly connections: Readonly<Record<string, ConnectionSettings>>;
  readonly log?: Log | undefined;
  readonly env?: Environment;
  readonly tuning?: Partial<Tuning>;
  /** Called for each pod that was created, adopted or deleted. */
  readonly onPod?: ((write: PodWrite, connection: string) => void) | undefined;
}): Clusters {
  const env = options.env ?? processEnvironment;
  const tuning = { ...TUNING, ...options.tuning };
  const opened = new Map<string, Cluster>(
    Object.entries(options.connections).map(([name, settings]) => {
      const onPod = (write: PodWrite) => options.onPod?.(write, name);
      return [name, new HttpCluster(name, settings, tuning, env, { onPod, log: options.log })];
    }),
  );
  options.log?.debug({ connections: [...opened.keys()] }, 'cluster connections are configured');
  return {
    names: [...opened.keys()],
    get(connection) {
      const cluster = opened.get(connection);
      if (cluster !== undefined) return cluster;
      const known = [...opened.keys()].join(', ') || 'none';
      throw new ReentryError('CONFIG_INVALID', `no connection "${connection}" is configured; known: ${known}`, {
        transient: false,
      });
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled([...opened.values()].map((cluster) => cluster[Symbol.asyncDispose]()));
    },
  };
}
