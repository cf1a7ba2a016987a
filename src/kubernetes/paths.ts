/** API paths of pods. Names come from requests: each is one encoded path segment. */

/** The collection of pods of a namespace, or of all. */
export function podsPath(namespace: string | undefined): string {
  return namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
}

/** One pod, or one of its sub-resources. */
export function podPath(namespace: string, name: string, subresource?: 'log' | 'exec'): string {
  const path = `${podsPath(namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
