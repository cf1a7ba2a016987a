import { type IncomingMessage, STATUS_CODES } from 'node:http';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import type { Duplex } from 'node:stream';
import { parse as parseYaml } from 'yaml';
import type { Certificate } from './certificate.ts';
import { discovery, review } from './discovery.ts';
import { acceptExec, execRequestOf, type ExecRequest } from './exec.ts';
import type { ExecProcess } from './exec-process.ts';
import { ApiFailure, badRequest, noSuchPath, notFound, statusOf } from './failure.ts';
import { type ApiRequest, type ApiResponse, breakOff } from './http.ts';
import type { Interference, ApiVerb } from './interference.ts';
import { RequestMetrics } from './metrics.ts';
import { isJsonObject, jsonOf, type KubeObject } from './objects.ts';
import { parseProtobuf } from './protobuf.ts';
import { getObject, listObjects, readBody, sendJson, watchRequest, type ObjectRequest } from './reading.ts';
import type { Resource } from './resources.ts';
import { pathOf, routeOf, urlOf, type Routed } from './routing.ts';
import type { Store } from './store.ts';
import type { Watches } from './watches.ts';
import { createObject, patchObject, updateObject } from './writing.ts';
import { deleteCollection, deleteObject, evict } from './deleting.ts';

/** Dependencies of the server. */
export interface ServerParts {
  readonly store: Store;
  readonly watches: Watches;
  readonly interference: Interference | undefined;
  readonly token: string;
  readonly certificate: Certificate;
  /** Answers a request for a pod's log. */
  readonly sendLog: (pod: KubeObject, query: URLSearchParams, response: ApiResponse) => void;
  /** Starts a command in a pod's container; undefined when the container is not running. */
  readonly exec: (pod: KubeObject, asked: ExecRequest) => ExecProcess | undefined;
}

const METRIC_VERB: Readonly<Record<ApiVerb, string>> = {
  get: 'GET',
  list: 'LIST',
  watch: 'WATCH',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  deletecollection: 'DELETECOLLECTION',
};

/** As in the real server. */
const MAX_STREAMS_PER_CONNECTION = 100;

/** The HTTPS server of the local cluster, not yet listening: HTTP/2 as a real one, and HTTP/1.1 for WebSocket and old clients. */
export function apiServer(parts: ServerParts): Http2SecureServer {
  const metrics = new RequestMetrics();
  const server = createSecureServer(
    {
      ...parts.certificate,
      allowHTTP1: true,
      settings: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION },
      // No idle time-out: a client may send a request just as the server closes an idle connection.
      http1Options: { keepAliveTimeout: 0 },
    },
    (request, response) => {
      void answer(parts, metrics, request, response);
    },
  );
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void upgrade(parts, metrics, { request, socket, head });
  });
  return server;
}

async function answer(
  parts: ServerParts,
  metrics: RequestMetrics,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  try {
    await route(parts, metrics, urlOf(request), request, response);
  } catch (error) {
    const failure = failureOf(error);
    if (response.headersSent) breakOff(response);
    else sendFailure(response, failure);
  }
}

function isTrusted({ token }: ServerParts, { headers }: ApiRequest): boolean {
  return headers.authorization === `Bearer ${token}`;
}

function sendText(response: ApiResponse, contentType: string, text: string): void {
  response.writeHead(200, { 'content-type': contentType });
  response.end(text);
}

function failureOf(error: unknown): ApiFailure {
  if (error instanceof ApiFailure) return error;
  return new ApiFailure(500, 'InternalError', `Internal error occurred: ${String(error)}`);
}

/** Answers an upgrade request: `pods/exec` over WebSocket is the only one supported. */
async function upgrade(
  parts: ServerParts,
  metrics: RequestMetrics,
  asked: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer },
): Promise<void> {
  const { request, socket } = asked;
  socket.on('error', () => socket.destroy());
  const count = (code: number): void => {
    metrics.count({ verb: 'CONNECT', resource: 'pods', subresource: 'exec', scope: 'resource', code });
  };
  try {
    const url = urlOf(request);
    if (!isTrusted(parts, request)) throw new ApiFailure(401, 'Unauthorized', 'Unauthorized');
    const routed = routeOf(pathOf(url));
    if (routed?.subresource !== 'exec') throw noSuchPath();
    const { namespace = '', name = '' } = routed;
    // In access reviews the verb of an exec is `create`.
    await parts.interference?.before('create', 'pods/exec', name);
    const pod = parts.store.get('pods', namespace, name);
    if (pod === undefined) throw notFound('pods', name);
    const wanted = execRequestOf(pod, url.searchParams);
    const losesReply = parts.interference?.losesReply('create', 'pods/exec') ?? false;
    acceptExec(asked, wanted, () => parts.exec(pod, wanted), losesReply);
    count(101);
  } catch (error) {
    const failure = failureOf(error);
    count(failure.code);
    const text = JSON.stringify(statusOf(failure));
    socket.end(
      `HTTP/1.1 ${String(failure.code)} ${STATUS_CODES[failure.code] ?? ''}\r\ncontent-type: application/json\r\ncontent-length: ${String(Buffer.byteLength(text))}\r\nconnection: close\r\n\r\n${text}`,
    );
  }
}

function sendFailure(response: ApiResponse, failure: ApiFailure): void {
  const retry = failure.retryAfterSeconds === undefined ? {} : { 'retry-after': String(failure.retryAfterSeconds) };
  if (failure.code === 429) {
    // API priority and fairness replies in plain text, not with a `Status`.
    response.writeHead(429, { 'content-type': 'text/plain; charset=utf-8', ...retry });
    response.end(`${failure.message}\n`);
    return;
  }
  sendJson(response, failure.code, JSON.stringify(statusOf(failure)), retry);
}

async function route(
  parts: ServerParts,
  metrics: RequestMetrics,
  url: URL,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const path = pathOf(url);
  if (['/healthz', '/livez', '/readyz'].includes(path)) {
    sendText(response, 'text/plain', 'ok');
    return;
  }
  if (path !== '/version' && !isTrusted(parts, request)) throw new ApiFailure(401, 'Unauthorized', 'Unauthorized');
  if (path === '/metrics') {
    const gauges = {
      apiserver_longrunning_requests: parts.watches.size,
      'apiserver_storage_objects{resource="pods"}': parts.store.count('pods'),
    };
    sendText(response, 'text/plain; version=0.0.4', metrics.text(gauges));
    return;
  }
  const routed = routeOf(path);
  if (routed !== undefined) {
    await objectRequest(parts, metrics, routed, url.searchParams, request, response);
    return;
  }
  const found = request.method === 'GET' ? discovery(path) : undefined;
  if (found !== undefined) {
    sendJson(response, 200, JSON.stringify(found));
    return;
  }
  const [, apis, group = '', , name = ''] = path.split('/');
  if (apis === 'apis' && request.method === 'POST') {
    const body = parseBody(await readBody(request), contentTypeOf(request));
    const isDenied = (verb: string, target: string): boolean => parts.interference?.isDenied(verb, target) ?? false;
    const reviewed = review(group, name, isJsonObject(body) ? body : {}, isDenied);
    if (reviewed !== undefined) {
      sendJson(response, 201, JSON.stringify(reviewed));
      return;
    }
  }
  throw noSuchPath();
}

function verbOf(method: string, { name }: Routed, query: URLSearchParams): ApiVerb {
  switch (method) {
    case 'GET':
      if (name !== undefined) return 'get';
      return ['1', 'true'].includes(query.get('watch') ?? '') ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name === undefined ? 'deletecollection' : 'delete';
  }
  throw new ApiFailure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource');
}

async function objectRequest(
  parts: ServerParts,
  metrics: RequestMetrics,
  routed: Routed,
  query: URLSearchParams,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const { interference } = parts;
  const { resource, namespace, name, subresource } = routed;
  const verb = verbOf(request.method ?? 'GET', routed, query);
  const target = subresource === '' ? resource.name : `${resource.name}/${subresource}`;
  const scope = name !== undefined ? 'resource' : namespace !== undefined ? 'namespace' : 'cluster';
  const count = (code: number): void => {
    metrics.count({ verb: METRIC_VERB[verb], resource: resource.name, subresource, scope, code });
  };
  try {
    await interference?.before(verb, target, name);
    const body = request.method === 'GET' ? undefined : await readBody(request);
    const answered = perform(parts, verb, routed, query, request, response, body);
    count(answered?.code ?? 200);
    if (answered === undefined) return;
    if (interference?.losesReply(verb, target) === true) {
      breakOff(response);
      return;
    }
    sendJson(response, answered.code, answered.text, answered.headers);
  } catch (error) {
    count(error instanceof ApiFailure ? error.code : 500);
    throw error;
  }
}

interface Answer {
  readonly code: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
}

/** Carries a request out; undefined when the reply is a stream that has begun already. */
function perform(
  parts: ServerParts,
  verb: ApiVerb,
  routed: Routed,
  query: URLSearchParams,
  incoming: ApiRequest,
  response: ApiResponse,
  body: Buffer | undefined,
): Answer | undefined {
  const { store } = parts;
  const { resource, namespace, name, subresource } = routed;
  const request: ObjectRequest = { resource, namespace, name, query, accept: incoming.headers.accept ?? '' };
  const status = subresource === 'status';
  const contentType = contentTypeOf(incoming);
  switch (verb) {
    case 'get': {
      if (subresource === 'exec') throw badRequest('Upgrade request required');
      if (subresource !== 'log') return { code: 200, text: getObject(store, request) };
      const pod = store.get('pods', namespace ?? '', name ?? '');
      if (pod === undefined) throw notFound('pods', name ?? '');
      parts.sendLog(pod, query, response);
      return undefined;
    }
    case 'list':
      return { code: 200, text: listObjects(store, request) };
    case 'watch':
      parts.watches.start(watchRequest(store, request), response);
      return undefined;
    case 'create': {
      if (subresource === 'exec') throw badRequest('Upgrade request required');
      if (subresource === 'eviction')
        return { code: 201, text: jsonOf(evict(store, request, parseBody(body, contentType))) };
      if (resource.namespaced && namespace === undefined) throw noSuchPath();
      const { object, warnings } = createObject(store, request, parseBody(body, contentType));
      return { code: 201, text: jsonOf(object), headers: warningHeaders(warnings) };
    }
    case 'update':
      return { code: 200, text: jsonOf(updateObject(store, request, parseBody(body, contentType), { status })) };
    case 'patch': {
      const patch = parseBody(body, contentType);
      const apply = contentType.startsWith('application/apply-patch');
      if (apply && store.get(resource.name, namespace ?? '', name ?? '') === undefined) {
        return { code: 201, text: jsonOf(createObject(store, request, patch).object) };
      }
      return { code: 200, text: jsonOf(patchObject(store, request, patch, { contentType, status })) };
    }
    case 'delete': {
      const deleted = deleteObject(
        store,
        request,
        body === undefined || body.length === 0 ? {} : parseBody(body, contentType),
      );
      return {
        code: 200,
        text:
          resource.name === 'pods' || resource.name === 'namespaces'
            ? jsonOf(deleted)
            : deletedStatus(resource, deleted),
      };
    }
    case 'deletecollection': {
      const items = deleteCollection(
        store,
        request,
        body === undefined || body.length === 0 ? {} : parseBody(body, contentType),
      );
      const metadata = { resourceVersion: String(store.resourceVersion) };
      return { code: 200, text: JSON.stringify({ kind: `${resource.kind}List`, apiVersion: 'v1', metadata, items }) };
    }
  }
}

function deletedStatus(resource: Resource, object: KubeObject): string {
  const details = { name: object.metadata.name, kind: resource.name, uid: object.metadata.uid };
  return JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
}

function warningHeaders(warnings: readonly string[]): Readonly<Record<string, readonly string[]>> {
  return warnings.length === 0 ? {} : { warning: warnings.map((text) => `299 - ${JSON.stringify(text)}`) };
}

function contentTypeOf(request: ApiRequest): string {
  return request.headers['content-type'] ?? 'application/json';
}

function parseBody(body: Buffer | undefined, contentType: string): unknown {
  const data = body ?? Buffer.alloc(0);
  if (contentType.includes('protobuf')) return parseProtobuf(data);
  if (!contentType.includes('yaml')) return parseJson(data.toString());
  try {
    const parsed: unknown = parseYaml(data.toString());
    return parsed;
  } catch (error) {
    throw badRequest(`the YAML cannot be parsed: ${String(error)}`);
  }
}

function parseJson(text: string): unknown {
  try {
    const parsed: unknown = JSON.parse(text);
    return parsed;
  } catch {
    throw badRequest("couldn't get version/kind; json parse error: the body is not JSON");
  }
}
