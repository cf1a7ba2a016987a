import { z } from 'zod';
import { ApiFailure, badRequest, invalidObject, notFound } from './failure.ts';
import type { ApiRequest, ApiResponse } from './http.ts';
import { jsonOf, type KubeObject } from './objects.ts';
import type { Resource } from './resources.ts';
import { fieldSelector, labelSelector, type Selector } from './selectors.ts';
import type { Store } from './store.ts';
import { table } from './tables.ts';
import type { WatchRequest } from './watches.ts';

/** A request for objects, as routed. */
export interface ObjectRequest {
  readonly resource: Resource;
  /** Undefined: all namespaces, or the resource has none. */
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly query: URLSearchParams;
  readonly accept: string;
}

/** Both selectors of a request as one. @throws ApiFailure 400 when one is invalid */
export function selectorOf({ resource, query, name }: ObjectRequest): Selector {
  const byLabel = labelSelector(query.get('labelSelector') ?? '');
  const byField = fieldSelector(resource.name, query.get('fieldSelector') ?? '');
  return (object) => (name === undefined || object.metadata.name === name) && byLabel(object) && byField(object);
}

/** Whether the client (kubectl) asks for table rows instead of objects. */
function wantsTable(accept: string): boolean {
  return /as=Table/u.test(accept);
}

/** One object as JSON. @throws ApiFailure 404 */
export function getObject(store: Store, request: ObjectRequest): string {
  const { resource, namespace, name = '', accept, query } = request;
  const object = store.get(resource.name, namespace ?? '', name);
  if (object === undefined) throw notFound(resource.name, name);
  return wantsTable(accept) ? JSON.stringify(tableOf(resource, [object], {}, query)) : jsonOf(object);
}

function tableOf(
  resource: Resource,
  objects: readonly KubeObject[],
  metadata: Readonly<Record<string, unknown>>,
  query: URLSearchParams,
  columns = true,
) {
  const includeObject = query.get('includeObject') ?? 'Metadata';
  return table(resource.name, objects, metadata, { nowMs: Date.now(), includeObject, columns });
}

const tokenSchema = z.object({ snapshot: z.string(), start: z.number().int() });

/** A list, or one page of it, as JSON. @throws ApiFailure 400, or 410 when the page has expired */
export function listObjects(store: Store, request: ObjectRequest): string {
  const { resource, namespace, query, accept } = request;
  const selects = selectorOf(request);
  const limit = numberOf(query, 'limit') ?? 0;
  const token = query.get('continue') ?? '';
  const asked = query.get('resourceVersion') ?? '';
  if (asked !== '' && Number(asked) > store.resourceVersion) throw tooLarge(asked, store.resourceVersion);

  let items: readonly KubeObject[];
  let version = store.resourceVersion;
  let start = 0;
  let snapshot: string | undefined;
  if (token === '') items = store.list(resource.name, namespace).filter(selects);
  else {
    const begun = parseToken(token);
    const kept = store.snapshot(begun.snapshot, Date.now());
    ({ items, resourceVersion: version } = kept);
    ({ start, snapshot } = begun);
  }
  // For resourceVersion=0 the real server replies from its cache and ignores the limit.
  const paged = limit > 0 && asked !== '0' && start + limit < items.length;
  const page = paged ? items.slice(start, start + limit) : items.slice(start);
  const metadata = {
    resourceVersion: String(version),
    ...(paged && {
      continue: tokenText(snapshot ?? store.keep(items, version, Date.now()), start + limit),
      remainingItemCount: items.length - start - limit,
    }),
  };
  if (wantsTable(accept)) return JSON.stringify(tableOf(resource, page, metadata, query));
  return `{"kind":"${resource.kind}List","apiVersion":"v1","metadata":${JSON.stringify(metadata)},"items":[${page.map(jsonOf).join(',')}]}`;
}

function tokenText(snapshot: string, start: number): string {
  return Buffer.from(JSON.stringify({ snapshot, start })).toString('base64url');
}

function parseToken(token: string): z.output<typeof tokenSchema> {
  try {
    return tokenSchema.parse(JSON.parse(Buffer.from(token, 'base64url').toString()));
  } catch {
    throw badRequest('continue key is not valid: it was not issued by this server');
  }
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name) ?? '';
  if (text === '') return undefined;
  if (!/^\d+$/u.test(text)) throw badRequest(`${name} must be a whole number, not "${text}"`);
  return Number(text);
}

function tooLarge(asked: string, current: number): ApiFailure {
  return new ApiFailure(504, 'Timeout', `Too large resource version: ${asked}, current: ${String(current)}`, {
    details: { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }] },
    retryAfterSeconds: 1,
  });
}

/** Parses a watch request. @throws ApiFailure 400 or 422 when it contradicts itself, 504 when its version is in the future */
export function watchRequest(store: Store, request: ObjectRequest): WatchRequest {
  const { resource, namespace, query, accept } = request;
  const asked = query.get('resourceVersion') ?? '';
  const initial = query.get('sendInitialEvents');
  if (asked !== '' && !/^\d+$/u.test(asked)) {
    throw invalidObject('ListOptions', '', [
      { reason: 'FieldValueInvalid', field: 'resourceVersion', message: `Invalid value: ${JSON.stringify(asked)}` },
    ]);
  }
  if (initial !== null && query.get('resourceVersionMatch') !== 'NotOlderThan') {
    throw invalidObject('ListOptions', '', [
      {
        reason: 'FieldValueForbidden',
        field: 'resourceVersionMatch',
        message: 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      },
    ]);
  }
  if (Number(asked) > store.resourceVersion) throw tooLarge(asked, store.resourceVersion);
  const fromStart = initial === 'true' || (initial === null && (asked === '' || asked === '0'));
  const bookmarks = query.get('allowWatchBookmarks') === 'true';
  const timeoutSeconds = numberOf(query, 'timeoutSeconds') ?? 0;
  return {
    resource: resource.name,
    kind: resource.kind,
    namespace,
    selects: selectorOf(request),
    since: fromStart ? undefined : asked === '' ? store.resourceVersion : Number(asked),
    initialEventsEnd: initial === 'true' && bookmarks,
    bookmarks,
    // By default, the real server ends a watch after 30 to 60 minutes, at random.
    timeoutMs: timeoutSeconds > 0 ? timeoutSeconds * 1000 : 1_800_000 * (1 + Math.random()),
    render: wantsTable(accept) ? (object, first) => tableOf(resource, [object], {}, query, first) : undefined,
  };
}

/** Reads the body of a request. @throws ApiFailure 413 beyond the real server's limit */
export async function readBody(request: ApiRequest): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!(chunk instanceof Buffer)) continue;
    bytes += chunk.length;
    if (bytes > 3 * 1024 * 1024) {
      throw new ApiFailure(413, 'RequestEntityTooLarge', 'Request entity too large: limit is 3145728');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Replies with JSON. */
export function sendJson(
  response: ApiResponse,
  code: number,
  text: string,
  headers: Readonly<Record<string, string | readonly string[]>> = {},
): void {
  const all = Object.entries(headers).map(([name, value]): [string, string | string[]] => [
    name,
    typeof value === 'string' ? value : [...value],
  ]);
  response.writeHead(code, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...Object.fromEntries(all),
  });
  response.end(text);
}
