import { badRequest, noSuchPath } from './failure.ts';
import type { ApiRequest } from './http.ts';
import { resourceOf, type Resource } from './resources.ts';

/** What a path identifies. */
export interface Routed {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string;
}

/** The URL of a request. @throws ApiFailure 400 when path or query are malformed */
export function urlOf(request: ApiRequest): URL {
  try {
    const url = new URL(`http://local${request.url ?? '/'}`);
    decodeURIComponent(url.pathname);
    return url;
  } catch {
    throw badRequest('the URL cannot be read');
  }
}

/** The path without slashes at its end. */
export function pathOf(url: URL): string {
  return url.pathname.replace(/(?<=.)\/+$/u, '');
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
