/**
 * A server that serves one container's log as a kubelet does: `node test/bench/log-server.ts --mb 512 --line-bytes 120`. Prints its port. The log is
 * made while it is sent, in a separate process, so that its memory is not measured as the reader's.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { numberFlags } from './report.ts';

const { mb, 'line-bytes': lineBytes } = numberFlags({ mb: 512, 'line-bytes': 120 });
const START = Date.parse('2026-01-01T00:00:00Z');
const MICROS_BETWEEN = 100;
const lines = Math.floor((mb * 1024 * 1024) / lineBytes);
const PAD = 'x'.repeat(lineBytes);

/** Line `n`, of `lineBytes` bytes: a node's time, a number, padding. */
function line(n: number): string {
  const micros = n * MICROS_BETWEEN;
  const stamp = new Date(START + Math.floor(micros / 1000)).toISOString().slice(0, -1);
  const text = `${stamp}${String(micros % 1000).padStart(3, '0')}000Z line ${String(n)} `;
  return `${text}${PAD.slice(0, Math.max(0, lineBytes - text.length - 1))}\n`;
}

const server = createServer((request, response) => {
  void (async () => {
    const url = new URL(request.url ?? '/', 'http://node');
    if (!url.pathname.endsWith('/log')) {
      const metadata = { name: 'pod', namespace: 'ns', uid: 'uid', resourceVersion: '1' };
      const status = {
        phase: 'Succeeded',
        containerStatuses: [{ name: 'base', state: { terminated: { exitCode: 0 } } }],
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ metadata, spec: { containers: [{ name: 'base' }] }, status }));
      return;
    }
    const since = Date.parse(url.searchParams.get('sinceTime') ?? '') || START;
    response.writeHead(200, { 'content-type': 'text/plain' });
    for (let n = Math.max(0, Math.ceil(((since - START) * 1000) / MICROS_BETWEEN)); n < lines;) {
      const some: string[] = [];
      for (const end = Math.min(lines, n + 512); n < end; n += 1) some.push(line(n));
      if (!response.write(some.join(''))) await once(response, 'drain');
    }
    response.end();
  })();
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === 'object' ? address?.port : 0, lines })}\n`);
});
