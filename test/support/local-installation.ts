import { afterAll, beforeAll, vi } from 'vitest';
import { connect, type Client } from '../../src/client/index.ts';
import { type ClusterUnderTest, TARGETS } from './kubernetes.ts';
import { startInstallation, type RunningInstallation } from './running-installation.ts';

/** Roles on a local cluster, ready for requests, and a client. For the tests of one file. */
export function localInstallation(counts: { readonly workers: number; readonly triggerers: number }) {
  const [local] = TARGETS;
  let target: ClusterUnderTest;
  let installation: RunningInstallation;
  let client: Client;
  beforeAll(async () => {
    if (local === undefined) throw new Error('there is always a local cluster');
    target = await local.start();
    installation = await startInstallation(target, counts);
    client = await connect({ servers: installation.nats.url });
    await vi.waitFor(() => client.list(), { timeout: 60_000 });
  });
  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await installation[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  });
  return { target: () => target, installation: () => installation, client: () => client };
}
