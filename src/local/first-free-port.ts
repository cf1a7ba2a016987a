/** Starts a server on the first free port of a list. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const LOOPBACK = '127.0.0.1';
/** Loopback connections succeed or fail at once. */
const ANSWER_WITHIN_MS = 1_000;

/**
 * Calls `start` with the first of `ports` that is free, or with `undefined` (any port) when none is. A port that another process takes at
 * the same moment is skipped.
 * @throws what `start` throws although its port is free, or without a port
 */
export async function onFirstFreePort<T>(
  ports: readonly number[],
  start: (port: number | undefined) => Promise<T>,
): Promise<T> {
  for (const port of ports) {
    if (!(await isFree(port))) continue;
    try {
      return await start(port);
    } catch (error) {
      if (await isFree(port)) throw error;
    }
  }
  return start(undefined);
}

/**
 * Whether a server can listen on this port and none does. Some systems let a second server listen beside one on all addresses, so listening
 * alone proves nothing.
 */
async function isFree(port: number): Promise<boolean> {
  return !(await answers(port)) && (await canListen(port));
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, LOOPBACK);
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ port, host: LOOPBACK, exclusive: true });
    await once(server, 'listening');
  } catch {
    return false; // taken, or not permitted
  }
  server.close();
  await once(server, 'close');
  return true;
}
