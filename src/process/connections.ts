/** From settings to connections: how to reach the broker, and the clusters. */
import type { Config } from '../config.ts';
import { parseConnections } from './connections-file.ts';
import type { ConfiguredConnection } from './connections-file.ts';
import { readText } from './files.ts';

/** How to reach the broker. */
export function natsOptions(config: Config) {
  const tls = { caFile: config.natsTlsCa, certFile: config.natsTlsCert, keyFile: config.natsTlsKey };
  return {
    servers: config.natsUrl,
    ...(config.natsCreds === undefined ? {} : { credsFile: config.natsCreds }),
    ...defined({ user: config.natsUser, passFile: config.natsPassFile, tokenFile: config.natsTokenFile }),
    ...(config.natsToken === undefined ? {} : { token: config.natsToken.reveal() }),
    ...(Object.values(tls).every((file) => file === undefined) ? {} : { tls: defined(tls) }),
    root: config.subjectRoot,
    assetPrefix: config.assetPrefix,
  };
}

function defined<T extends Readonly<Record<string, string | undefined>>>(
  fields: T,
): { readonly [K in keyof T]?: string } {
  const kept: { [K in keyof T]?: string } = {};
  for (const key in fields) if (fields[key] !== undefined) kept[key] = fields[key];
  return kept;
}

/** The named clusters; without a connections file one, `default`, found as kubectl finds its own. */
export async function connectionsOf(config: Config): Promise<Readonly<Record<string, ConfiguredConnection>>> {
  if (config.connections !== undefined) return parseConnections(config.connections, await readText(config.connections));
  return {
    default: {
      ...(config.kubeconfig === undefined ? {} : { kubeconfig: config.kubeconfig }),
      ...(config.context === undefined ? {} : { context: config.context }),
    },
  };
}
