/** The two ways in which a command speaks to the broker: as a client of one tenant, or as an operator of the installation. */
import type { Client } from '../client/index.ts';
import type { Operations } from '../ports/operations.ts';
import { natsOptions } from '../process/connections.ts';
import type { Invocation } from './shell.ts';

/** A client of the tenant in the settings. @throws ReentryError NATS_UNAVAILABLE naming the server */
export async function openClient({ config }: Pick<Invocation, 'config'>): Promise<Client> {
  const { connect } = await import('../client/index.ts');
  return connect({ ...natsOptions(config), tenant: config.tenant, name: `reentry-cli-${String(process.pid)}` });
}

/** The whole installation. Needs the permissions of the NATS user of `setup`. */
export async function openInstallation({ config }: Pick<Invocation, 'config'>): Promise<Operations> {
  const { openOperations } = await import('../nats/operations.ts');
  return openOperations({ ...natsOptions(config), name: `reentry-operations-${String(process.pid)}` });
}
