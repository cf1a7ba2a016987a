import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { onFirstFreePort } from '../../src/local/first-free-port.ts';
import { startNatsServer } from '../../src/local/nats-server.ts';
import { natsServerProgram } from '../support/nats-server.ts';
import { freePorts, portOf } from '../support/ports.ts';

let directory: string;
let taken: Server;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-port-'));
  taken = await aListener();
});
afterEach(async () => {
  taken.close();
  await rm(directory, { recursive: true, force: true });
});

async function aListener(port = 0, host = '127.0.0.1'): Promise<Server> {
  const server = createServer();
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}
/** A port that was free just now. */
const freePort = async (): Promise<number> => (await freePorts(1))[0] ?? 0;
const tried = (ports: readonly number[]) => onFirstFreePort(ports, (port) => Promise.resolve(port));

describe('a server on the first free port', () => {
  test('takes the first free one', async () => {
    const [first, second] = [await freePort(), await freePort()];
    expect(await tried([first, second])).toBe(first);
    expect(await tried([portOf(taken), second])).toBe(second);
  });

  test('takes none of those that others have, on this address, on all, or for a connection of their own', async () => {
    const everywhere = await aListener(0, '0.0.0.0');
    const ours = connect(portOf(taken), '127.0.0.1');
    await once(ours, 'connect');
    expect(await tried([portOf(taken), portOf(everywhere), ours.localPort ?? 0])).toBeUndefined();
    ours.destroy();
    everywhere.close();
  });

  test('skips a port that another process takes first, and reports other errors', async () => {
    const port = await freePort();
    const faster: Server[] = [];
    const start = async (wanted: number | undefined): Promise<number | undefined> => {
      if (wanted === undefined) return undefined;
      faster.push(await aListener(wanted));
      throw new Error('address in use');
    };
    expect(await onFirstFreePort([port], start)).toBeUndefined();
    for (const server of faster) server.close();
    const broken = () => Promise.reject(new Error('no disk'));
    await expect(onFirstFreePort([await freePort()], broken)).rejects.toThrow('no disk');
  });

  test('is a nats-server as well as any', async () => {
    const program = await natsServerProgram();
    const port = await freePort();
    const start = (wanted: number | undefined) => startNatsServer({ program, directory, port: wanted });
    await using first = await onFirstFreePort([portOf(taken), port], start);
    expect(first.url).toBe(`nats://127.0.0.1:${String(port)}`);
  });
});
