import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/** Ports that nothing listens on, found by listening on all of them at once. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(listeners.map((listener) => once(listener, 'listening')));
  const ports = listeners.map(portOf);
  await Promise.all(
    listeners.map(async (listener) => {
      listener.close();
      await once(listener, 'close');
    }),
  );
  return ports;
}

/** The port that a server listens on. */
export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('it listens on a port');
  return address.port;
}
