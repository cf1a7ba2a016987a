/** From settings to connections: the broker's options, and a client for the commands that speak as one. */
import type { Client } from '../client/index.ts';
import type { Config } from '../config.ts';
import type { Invocation } from './shell.ts';

/** How to reach the broker, as the settings say. */
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

/** A client of the settings' tenant. @throws ReentryError NATS_UNAVAILABLE naming the server */
export async function openClient({ config }: Pick<Invocation, 'config'>): Promise<Client> {
  const { connect } = await import('../client/index.ts');
  return connect({ ...natsOptions(config), tenant: config.tenant, name: `reentry-cli-${String(process.pid)}` });
}
