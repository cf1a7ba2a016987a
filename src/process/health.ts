/** `/healthz`, `/readyz` and `/metrics` of one process. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { ReentryError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';

/** Condition of a process. */
export interface Condition {
  /** `false`: a restart would help; `problems` has why. */
  readonly alive: boolean;
  /** It does its work, if not for every connection. */
  readonly ready: boolean;
  /** What is wrong, one sentence a line of `/readyz`; where it is ready too. */
  readonly problems: readonly string[];
}

/** The endpoint of one process; opened first, so that a starting pod answers "not ready". */
export interface Health extends AsyncDisposable {
  readonly port: number;
  /** Sets the source of `/healthz` and `/readyz`. Until then the process is alive, and not ready: "starting". */
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
  let condition = (): Condition => ({ alive: true, ready: false, problems: ['starting'] });
  const server = createServer((request, response) => {
    const reply = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const path = (request.url ?? '').split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') reply(405, 'text/plain', 'only GET\n');
    else if (path === '/healthz') {
      const { alive, problems } = condition();
      reply(alive ? 200 : 503, 'text/plain', `${(alive ? ['ok'] : ['not alive', ...problems]).join('\n')}\n`);
    } else if (path === '/readyz') {
      const { ready, problems } = condition();
      reply(ready ? 200 : 503, 'text/plain', `${[...(ready ? ['ready'] : []), ...problems].join('\n')}\n`);
    } else if (path === '/metrics') {
      options.telemetry.text().then(
        (text) => {
          reply(200, options.telemetry.contentType, text);
        },
        (error: unknown) => {
          reply(500, 'text/plain', `${String(error)}\n`);
        },
      );
    } else reply(404, 'text/plain', 'try /healthz, /readyz or /metrics\n');
  });
  server.listen(options.port, options.host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const where = `${options.host}:${String(options.port)}`;
    throw new ReentryError(
      'CONFIG_INVALID',
      `cannot listen on ${where} for health and metrics; set REENTRY_HTTP_PORT to a free port, or to 0 for any`,
      { transient: false, cause },
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
