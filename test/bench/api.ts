/** Plain HTTP to the API server, as a reference to measure against, and a proxy that counts requests. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { Agent, type Dispatcher, request as send } from 'undici';
import { Auth } from '../../src/kubernetes/auth.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';

/** Plain HTTP to one API server. */
export interface Api extends AsyncDisposable {
  call(
    method: Dispatcher.HttpMethod,
    path: string,
    options?: {
      readonly body?: Dispatcher.DispatchOptions['body'];
      readonly headers?: Readonly<Record<string, string>>;
    },
  ): Promise<Dispatcher.ResponseData>;
  /** Lines of a response that does not end, until `signal` aborts. */
  lines(path: string, signal: AbortSignal): AsyncGenerator<string>;
}

/** Opens the API server that a kubeconfig's current context names. */
export function openApi(kubeconfig: string): Api {
  const target = targetOf('bench', { kubeconfig }, {});
  const auth = new Auth(target, {});
  const dispatcher = auth.credentials().then(
    ({ tls: { rejectUnauthorized, ca, cert, key } }) =>
      new Agent({
        // A watch may be silent for long.
        bodyTimeout: 0,
        connect: {
          rejectUnauthorized,
          ...(ca === undefined ? {} : { ca }),
          ...(cert === undefined ? {} : { cert }),
          ...(key === undefined ? {} : { key }),
        },
      }),
  );
  const call: Api['call'] = async (method, path, { body = null, headers } = {}) =>
    await send(`${target.cluster.server}${path}`, {
      dispatcher: await dispatcher,
      method,
      body,
      headers: { ...headers, ...(await auth.credentials()).headers },
    });
  return {
    call,
    async *lines(path, signal) {
      const { body } = await call('GET', path);
      signal.addEventListener('abort', () => body.destroy());
      try {
        yield* createInterface({ input: body });
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
    async [Symbol.asyncDispose]() {
      await (await dispatcher).destroy();
    },
  };
}

/** Numbers of requests, by verb, resource and subresource, for example `GET pods/log`. */
export type Calls = ReadonlyMap<string, number>;

/** The increase from `before` to `after`; what did not increase is left out. */
export function grown(before: Calls, after: Calls): Calls {
  const pairs = [...after].map(([what, count]): [string, number] => [what, count - (before.get(what) ?? 0)]);
  return new Map(pairs.filter(([, count]) => count > 0));
}

/** Requests that the server itself has counted, of all its clients. Watches count when they end. */
export async function countedByServer(api: Api): Promise<Calls> {
  const calls = new Map<string, number>();
  const { body } = await api.call('GET', '/metrics');
  for (const line of (await body.text()).split('\n')) {
    if (!line.startsWith('apiserver_request_total{')) continue;
    const label = (name: string): string => new RegExp(`[{,]${name}="([^"]*)"`).exec(line)?.[1] ?? '';
    const what = `${label('verb')} ${[label('resource'), label('subresource')].filter(Boolean).join('/')}`;
    calls.set(what, (calls.get(what) ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1)));
  }
  return calls;
}

/** A proxy in front of the API server that counts requests. */
export interface CountingProxy extends AsyncDisposable {
  /** A kubeconfig for requests through the proxy. */
  readonly kubeconfig: string;
  calls(): Calls;
  /** Sets the API server of a proxy that was opened with a function; until then it refuses every request. */
  connectTo(kubeconfig: string): void;
}

/** Opens the proxy to `open`, or to what `connectTo` names later. The server's own metrics do not count by client. */
export async function openCountingProxy(open: Api | ((kubeconfig: string) => Api)): Promise<CountingProxy> {
  let api = typeof open === 'function' ? undefined : open;
  const calls = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    const what = `${request.method ?? ''} ${resourceOf(path)}`;
    calls.set(what, (calls.get(what) ?? 0) + 1);
    const headers = ['accept', 'content-type', 'user-agent'].flatMap((name) => {
      const value = request.headers[name];
      return typeof value === 'string' ? [[name, value]] : [];
    });
    const pass = async (): Promise<void> => {
      const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
      if (api === undefined) throw new Error('the proxy has no API server yet');
      const upstream = await api.call(methodOf(request.method), path, {
        body: hasBody ? request : null,
        headers: Object.fromEntries(headers),
      });
      response.writeHead(upstream.statusCode, upstream.headers);
      // The reader of a watch waits for the headers, not for the first event.
      response.flushHeaders();
      await pipeline(upstream.body, response);
    };
    pass().catch(() => {
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const directory = await mkdtemp(join(tmpdir(), 'reentry-proxy-'));
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'proxy',
      contexts: [{ name: 'proxy', context: { cluster: 'proxy', user: 'proxy' } }],
      clusters: [{ name: 'proxy', cluster: { server: `http://127.0.0.1:${String(port)}` } }],
      users: [{ name: 'proxy', user: {} }],
    }),
  );
  return {
    kubeconfig,
    calls: () => new Map(calls),
    connectTo(target) {
      if (typeof open === 'function') api = open(target);
    },
    async [Symbol.asyncDispose]() {
      if (typeof open === 'function') await api?.[Symbol.asyncDispose]();
      server.closeAllConnections();
      server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const METHODS = ['GET', 'POST', 'PATCH', 'PUT', 'DELETE'] as const;

function methodOf(text: string | undefined): Dispatcher.HttpMethod {
  return METHODS.find((method) => method === text) ?? 'GET';
}

/** `pods/log` of `/api/v1/namespaces/x/pods/y/log?…`; the path itself where it names no resource. */
function resourceOf(path: string): string {
  const url = new URL(path, 'http://api');
  const parts = url.pathname.replace(/^\/(api|apis\/[^/]+)\/[^/]+\//, '').split('/');
  const [resource = path, name, sub] = parts[0] === 'namespaces' && parts.length > 2 ? parts.slice(2) : parts;
  const watch = url.searchParams.has('watch') ? ' (watch)' : '';
  return `${resource}${sub === undefined ? (name === undefined ? ' (all)' : '') : `/${sub}`}${watch}`;
}
