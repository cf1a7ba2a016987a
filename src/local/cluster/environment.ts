import { quantityOf } from '../../core/quantity.ts';
import { isJsonObject, textAt, type KubeObject } from './objects.ts';
import type { Container } from './pod.ts';
import type { Store } from './store.ts';

/** A container cannot be created as its pod specifies. The kubelet reports `CreateContainerConfigError` and retries. */
export class ContainerConfigError extends Error {
  override readonly name = 'ContainerConfigError';
}

/**
 * The environment of a container, from `envFrom` and `env`, with `$(NAME)` expanded.
 * @throws ContainerConfigError when a referenced Secret, ConfigMap or key is missing
 */
export function environment(store: Store, pod: KubeObject, container: Container): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  const namespace = pod.metadata.namespace ?? '';
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom) {
    const ref = configMapRef ?? secretRef;
    if (ref === undefined) continue;
    const data = dataOf(store, configMapRef === undefined ? 'secrets' : 'configmaps', namespace, ref.name);
    if (data === undefined) {
      if (ref.optional === true) continue;
      throw new ContainerConfigError(`${configMapRef === undefined ? 'secret' : 'configmap'} "${ref.name}" not found`);
    }
    for (const [key, value] of data) env[`${prefix}${key}`] = value.toString();
  }
  for (const { name, value, valueFrom } of container.env) {
    if (valueFrom === undefined) {
      env[name] = expand(value ?? '', env);
      continue;
    }
    const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
    const ref = configMapKeyRef ?? secretKeyRef;
    if (fieldRef !== undefined) env[name] = podField(pod, fieldRef.fieldPath);
    else if (resourceFieldRef !== undefined) env[name] = resourceField(container, resourceFieldRef.resource);
    else if (ref !== undefined) {
      const found = keyOf(store, configMapKeyRef === undefined ? 'secrets' : 'configmaps', namespace, ref);
      if (found !== undefined) env[name] = found;
    }
  }
  return env;
}

function keyOf(
  store: Store,
  resource: 'secrets' | 'configmaps',
  namespace: string,
  ref: { readonly name: string; readonly key: string; readonly optional?: boolean | undefined },
): string | undefined {
  const data = dataOf(store, resource, namespace, ref.name);
  const found = data?.get(ref.key)?.toString();
  if (found !== undefined || ref.optional === true) return found;
  if (data === undefined)
    throw new ContainerConfigError(`${resource === 'secrets' ? 'secret' : 'configmap'} "${ref.name}" not found`);
  const kind = resource === 'secrets' ? 'Secret' : 'ConfigMap';
  throw new ContainerConfigError(`couldn't find key ${ref.key} in ${kind} ${namespace}/${ref.name}`);
}

/** The content of a Secret or ConfigMap, undefined when there is none of that name. */
export function dataOf(
  store: Store,
  resource: 'secrets' | 'configmaps',
  namespace: string,
  name: string,
): ReadonlyMap<string, Buffer> | undefined {
  const object = store.get(resource, namespace, name);
  if (object === undefined) return undefined;
  const entries = (field: string, encoding: 'utf8' | 'base64'): [string, Buffer][] =>
    Object.entries(isJsonObject(object[field]) ? object[field] : {}).map(([key, value]) => [
      key,
      Buffer.from(String(value), encoding),
    ]);
  return new Map(
    resource === 'secrets'
      ? entries('data', 'base64')
      : [...entries('data', 'utf8'), ...entries('binaryData', 'base64')],
  );
}

/** A field of the pod by its path, as in the downward API; empty when it is absent. */
export function podField(pod: KubeObject, path: string): string {
  const keyed = /^metadata\.(?<map>labels|annotations)\['(?<key>[^']+)'\]$/u.exec(path)?.groups;
  if (keyed !== undefined) return textAt(pod, 'metadata', keyed['map'] ?? '', keyed['key'] ?? '');
  if (path === 'metadata.labels' || path === 'metadata.annotations') {
    const map = path === 'metadata.labels' ? pod.metadata.labels : pod.metadata.annotations;
    return Object.entries(map ?? {})
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .sort()
      .join('\n');
  }
  return path === 'status.podIPs' ? textAt(pod, 'status', 'podIP') : textAt(pod, ...path.split('.'));
}

/** A resource of the container as a whole number (bytes, or cores rounded up); 0 when it is not set. */
export function resourceField(container: Container, path: string): string {
  const [part, ...name] = path.split('.');
  const { limits = {}, requests = {} } = container.resources ?? {};
  return String(Math.ceil(quantityOf((part === 'limits' ? limits : requests)[name.join('.')]) ?? 0));
}

/** `text` with each `$(NAME)` replaced by its value. Unknown names stay; `$$` is an escaped `$`. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^)]+)\)/gu, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return Object.hasOwn(env, name) ? (env[name] ?? whole) : whole;
  });
}
