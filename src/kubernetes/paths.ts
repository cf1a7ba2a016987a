/** API paths of pods. Names come from requests, so each is encoded as one path segment. */
import { KubernetesError } from '../errors.ts';

/** A name of dots only would lead to another path, however it is encoded. */
function segment(name: string): string {
  if (name !== '.' && name !== '..') return encodeURIComponent(name);
  throw new KubernetesError('invalid', `"${name}" is not a valid name`, { status: 0, reason: 'Invalid' });
}

/** The pods of a namespace, or of all. */
export function podsPath(namespace: string | undefined): string {
  return namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${segment(namespace)}/pods`;
}

/** One pod, or one of its subresources. */
export function podPath(namespace: string, name: string, subresource?: 'log' | 'exec'): string {
  const path = `${podsPath(namespace)}/${segment(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
