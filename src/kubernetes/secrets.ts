/** Creates or replaces single Secrets. */
import { KubernetesError } from '../errors.ts';
import type { Http } from './http.ts';

/** Creates the Secret, or replaces the one of that name. Safe to repeat. */
export async function putSecret(
  http: Http,
  namespace: string,
  name: string,
  data: Readonly<Record<string, Uint8Array>>,
): Promise<'created' | 'replaced'> {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;
  const body = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace },
    type: 'Opaque',
    data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
  };
  try {
    await http.json({ method: 'POST', path, body, what: `create secret ${namespace}/${name}`, count: 'create' });
    return 'created';
  } catch (error) {
    if (!(error instanceof KubernetesError) || error.fault !== 'alreadyExists') throw error;
  }
  await http.json({
    method: 'PUT',
    path: `${path}/${encodeURIComponent(name)}`,
    body,
    what: `replace secret ${namespace}/${name}`,
    count: 'update',
  });
  return 'replaced';
}
