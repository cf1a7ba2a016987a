import type { IncomingMessage } from 'node:http';
import { badRequest, noSuchPath } from './failure.ts';
import { resourceOf, type Resource } from './resources.ts';

/** What a path identifies. */
export interface Routed {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string;
}

/** Path prefix that grants access like the token itself. */
export function accessPath(token: string): string {
  return `/access/${token}`;
}

/** The URL of a request. @throws ApiFailure 400 when path or query are malformed */
export function urlOf(request: IncomingMessage): URL {
  try {
    const url = new URL(`http://local${request.url ?? '/'}`);
    decodeURIComponent(url.pathname);
    return url;
  } catch {
    throw badRequest('the URL cannot be read');
  }
}

/** The path without the access prefix, and whether the request carries the token, there or in its header. */
export function accessOf(
  token: string,
  url: URL,
  request: IncomingMessage,
): { readonly path: string; readonly trusted: boolean } {
  // kubectl sends no token over plain HTTP, but keeps the path of the server's URL, so the token can be part of that.
  const prefix = accessPath(token);
  const inPath = url.pathname.startsWith(`${prefix}/`);
  const path = (inPath ? url.pathname.slice(prefix.length) : url.pathname).replace(/(?<=.)\/+$/u, '');
  return { path, trusted: inPath || request.headers.authorization === `Bearer ${token}` };
}

/** The object, collection or subresource at a path; undefined for other paths. @throws ApiFailure 404 */
export function routeOf(path: string): Routed | undefined {
  const segments = path.split('/').slice(1).map(decodeURIComponent);
  if (segments[0] !== 'api' || segments[1] !== 'v1' || segments[2] === undefined) return undefined;
  const inNamespace =
    segments[2] === 'namespaces' && segments[4] !== undefined && segments[4] !== 'status' && segments[4] !== 'finalize';
  const [resourceName = '', name, subresource = ''] = inNamespace ? segments.slice(4) : segments.slice(2);
  const resource = resourceOf(resourceName);
  if (resource === undefined || resource.namespaced !== inNamespace) {
    // Only lists and watches can span all namespaces.
    if (resource === undefined || inNamespace || name !== undefined) throw noSuchPath();
  }
  if (subresource !== '' && !resource.subresources.includes(subresource)) throw noSuchPath();
  return { resource, namespace: inNamespace ? segments[3] : undefined, name, subresource };
}
