/** `/healthz`, `/readyz` and `/metrics` of one process. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { ReentryError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';

/** How a process is. */
export interface Condition {
  /** `false`: a restart would help. */
  readonly alive: boolean;
  /** Why it cannot work now; empty: it is ready. */
  readonly problems: readonly string[];
}

/** The endpoint of one process; open before anything else, so that a starting pod can say "not ready". */
export interface Health extends AsyncDisposable {
  readonly port: number;
  /** What `/healthz` and `/readyz` ask from now on; before, the process is alive and "starting". */
  watch(condition: () => Condition): void;
}

/**
 * Opens the endpoint. `port` 0 takes a free one.
 * @throws ReentryError CONFIG_INVALID when the port is taken
 */
export async function openHealth(options: {
  readonly host: string;
  readonly port: number;
  readonly telemetry: Telemetry;
}): Promise<Health> {
  let condition = (): Condition => ({ alive: true, problems: ['starting'] });
  const server = createServer((request, response) => {
    const say = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const path = (request.url ?? '').split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') say(405, 'text/plain', 'only GET\n');
    else if (path === '/healthz')
      say(condition().alive ? 200 : 503, 'text/plain', condition().alive ? 'ok\n' : 'not alive\n');
    else if (path === '/readyz') {
      const { problems } = condition();
      say(
        problems.length === 0 ? 200 : 503,
        'text/plain',
        `${problems.length === 0 ? 'ready' : problems.join('\n')}\n`,
      );
    } else if (path === '/metrics') {
      options.telemetry.text().then(
        (text) => {
          say(200, options.telemetry.contentType, text);
        },
        (error: unknown) => {
          say(500, 'text/plain', `${String(error)}\n`);
        },
      );
    } else say(404, 'text/plain', 'try /healthz, /readyz or /metrics\n');
  });
  server.listen(options.port, options.host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const where = `${options.host}:${String(options.port)}`;
    throw new ReentryError(
      'CONFIG_INVALID',
      `cannot open ${where} for health and metrics; set REENTRY_HTTP_PORT to a free port or 0`,
      {
        transient: false,
        cause,
      },
    );
  }
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    watch(next) {
      condition = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
