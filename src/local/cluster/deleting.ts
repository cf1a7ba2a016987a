import { z } from 'zod';
import { badRequest, conflict } from './failure.ts';
import { at, isJsonObject, listAt, rfc3339, textAt, withMetadata, type KubeObject } from './objects.ts';
import { selectorOf, type ObjectRequest } from './reading.ts';
import type { Resource } from './resources.ts';
import type { Store } from './store.ts';
import { existing, isDryRun } from './writing.ts';

const deleteSchema = z.looseObject({
  gracePeriodSeconds: z.number().int().nullish(),
  preconditions: z.looseObject({ uid: z.string().nullish(), resourceVersion: z.string().nullish() }).nullish(),
  dryRun: z.array(z.string()).nullish(),
});

/** Deletes an object, pods that may be running after their grace period. Returns the object as it is then. */
export function deleteObject(store: Store, request: ObjectRequest, body: unknown): KubeObject {
  const { resource, query } = request;
  const current = existing(store, request);
  const parsed = deleteSchema.safeParse(body ?? {});
  if (!parsed.success) throw badRequest('the DeleteOptions cannot be read');
  const { uid, resourceVersion } = parsed.data.preconditions ?? {};
  const { metadata } = current;
  if (typeof uid === 'string' && uid !== metadata.uid) {
    throw conflict(
      resource.name,
      metadata.name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid}`,
    );
  }
  if (typeof resourceVersion === 'string' && resourceVersion !== metadata.resourceVersion) {
    throw conflict(
      resource.name,
      metadata.name,
      `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${metadata.resourceVersion}`,
    );
  }
  if (isDryRun(query) || parsed.data.dryRun?.includes('All') === true) return current;
  const inQuery = query.get('gracePeriodSeconds');
  const asked = parsed.data.gracePeriodSeconds ?? (inQuery === null || inQuery === '' ? undefined : Number(inQuery));
  return remove(store, resource, current, asked);
}

/** Deletes all objects that the selectors match. Returns them. */
export function deleteCollection(store: Store, request: ObjectRequest, body: unknown): readonly KubeObject[] {
  const chosen = store.list(request.resource.name, request.namespace).filter(selectorOf(request));
  for (const object of chosen) {
    deleteObject(store, { ...request, namespace: object.metadata.namespace, name: object.metadata.name }, body);
  }
  return chosen;
}

function remove(store: Store, resource: Resource, current: KubeObject, askedSeconds: number | undefined): KubeObject {
  const { name, namespace = '', deletionTimestamp } = current.metadata;
  if (resource.name === 'namespaces') return removeNamespace(store, current);
  const graceSeconds = resource.name === 'pods' ? graceOf(current, askedSeconds) : 0;
  if (graceSeconds === 0) {
    if ((current.metadata.finalizers ?? []).length === 0) {
      // An ended pod gets a deletion timestamp before it is removed, so that a watcher can distinguish its deletion from its leaving the
      // selection.
      if (resource.name === 'pods' && askedSeconds !== 0 && deletionTimestamp === undefined)
        store.update(resource.name, marked(current, 0));
      return store.remove(resource.name, namespace, name) ?? current;
    }
    if (deletionTimestamp !== undefined && current.metadata.deletionGracePeriodSeconds === 0) return current;
  }
  // A later delete can shorten the grace period, never lengthen it.
  if (deletionTimestamp !== undefined && (current.metadata.deletionGracePeriodSeconds ?? 0) <= graceSeconds)
    return current;
  return store.update(resource.name, marked(current, graceSeconds));
}

function marked(object: KubeObject, graceSeconds: number): KubeObject {
  return withMetadata(object, {
    deletionTimestamp: rfc3339(new Date(Date.now() + graceSeconds * 1000)),
    deletionGracePeriodSeconds: graceSeconds,
  });
}

/** @see CheckGracefulDelete in Kubernetes' pkg/registry/core/pod/strategy.go */
function graceOf(pod: KubeObject, askedSeconds: number | undefined): number {
  const own = at(pod, 'spec', 'terminationGracePeriodSeconds');
  const seconds = askedSeconds ?? (typeof own === 'number' ? own : 30);
  if (textAt(pod, 'spec', 'nodeName') === '') return 0;
  if (['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase'))) return 0;
  return seconds < 0 ? 1 : seconds;
}

function removeNamespace(store: Store, namespace: KubeObject): KubeObject {
  const { name } = namespace.metadata;
  const ending = store.update('namespaces', {
    ...withMetadata(namespace, { deletionTimestamp: namespace.metadata.deletionTimestamp ?? rfc3339(new Date()) }),
    status: { phase: 'Terminating' },
  });
  for (const resource of ['configmaps', 'secrets', 'serviceaccounts', 'events', 'pods']) {
    for (const object of store.list(resource, name)) {
      if (resource !== 'pods') store.remove(resource, name, object.metadata.name);
      else
        remove(
          store,
          { name: 'pods', kind: 'Pod', singular: 'pod', shortNames: [], namespaced: true, subresources: [] },
          object,
          undefined,
        );
    }
  }
  if (store.list('pods', name).length === 0) {
    store.remove('namespaces', '', name);
    return ending;
  }
  // The namespace is removed with the last of its pods.
  const unlisten = store.listen('pods', () => {
    if (store.list('pods', name).length > 0) return;
    unlisten();
    for (const event of store.list('events', name)) store.remove('events', name, event.metadata.name);
    store.remove('namespaces', '', name);
  });
  return ending;
}

/** Evicts a pod: deletes it with condition `DisruptionTarget`, as draining a node does. */
export function evict(store: Store, request: ObjectRequest, body: unknown): KubeObject {
  const pod = existing(store, request);
  const condition = {
    type: 'DisruptionTarget',
    status: 'True',
    reason: 'EvictionByEvictionAPI',
    message: 'Eviction API: evicting',
    lastTransitionTime: rfc3339(new Date()),
  };
  const status = isJsonObject(pod['status']) ? pod['status'] : {};
  const conditions = listAt(status, 'conditions');
  store.update('pods', { ...pod, status: { ...status, conditions: [...conditions, condition] } });
  return deleteObject(store, request, at(body, 'deleteOptions'));
}
