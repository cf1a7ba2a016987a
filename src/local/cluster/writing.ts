import { randomBytes, randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { ApiFailure, type Cause, badRequest, conflict, forbidden, invalidObject, notFound } from './failure.ts';
import {
  at,
  isJsonObject,
  metadataSchema,
  rfc3339,
  textAt,
  withMetadata,
  type JsonObject,
  type KubeObject,
  type ObjectMeta,
} from './objects.ts';
import { mergePatch, jsonPatch, strategicPatch } from './patch.ts';
import { podSpec } from './pod.ts';
import { withDefaults } from './pod-defaults.ts';
import { POD_FIELDS } from '../../core/pod/pod-fields.ts';
import { pruned } from './pruned-fields.ts';
import { metadataCauses, podCauses } from './pod-validation.ts';
import type { ObjectRequest } from './reading.ts';
import type { Resource } from './resources.ts';
import type { Store } from './store.ts';

/** Result of a write: the object, and warnings for the client. */
export interface Written {
  readonly object: KubeObject;
  readonly warnings: readonly string[];
}

const PLURAL: Readonly<Record<string, string>> = { pods: 'Pod' };

/** Creates the object in `body`. @throws ApiFailure 400, 403, 404, 409 or 422, as the real server does */
export function createObject(store: Store, request: ObjectRequest, body: unknown): Written {
  const { resource, namespace, query } = request;
  const dryRun = isDryRun(query);
  const { value, warnings } = checkedFields(resource, body, query);
  const metadata = parseMetadata(value['metadata'], resource);
  if (
    metadata.namespace !== undefined &&
    metadata.namespace !== '' &&
    resource.namespaced &&
    metadata.namespace !== namespace
  ) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  }
  if (resource.namespaced) requireNamespace(store, resource, namespace ?? '', metadata.name ?? '');
  const generated = metadata.generateName !== undefined && metadata.generateName !== '' && (metadata.name ?? '') === '';
  const name = generated ? `${String(metadata.generateName).slice(0, 58)}${suffix()}` : (metadata.name ?? '');
  const label = resource.name === 'namespaces';
  const causes = [...metadataCauses({ ...metadata, name }, { label })];
  const object: KubeObject = {
    ...value,
    apiVersion: 'v1',
    kind: resource.kind,
    metadata: {
      ...metadata,
      name,
      ...(resource.namespaced && { namespace }),
      uid: '',
      resourceVersion: '',
      creationTimestamp: '',
      deletionTimestamp: undefined,
      deletionGracePeriodSeconds: undefined,
    },
  };
  const ready = prepared(store, resource, object, causes);
  if (causes.length > 0) throw invalidObject(PLURAL[resource.name] ?? resource.kind, name, causes);
  if (store.get(resource.name, namespace ?? '', name) !== undefined) {
    throw new ApiFailure(409, 'AlreadyExists', `${resource.name} "${name}" already exists`, {
      details: { name, kind: resource.name },
    });
  }
  if (dryRun) {
    const seen = withMetadata(ready, { uid: randomUUID(), creationTimestamp: rfc3339(new Date()) });
    return { object: seen, warnings };
  }
  const stored = store.create(resource.name, ready, new Date());
  if (resource.name === 'namespaces') furnish(store, name);
  return { object: stored, warnings };
}

/** What every namespace contains initially. */
function furnish(store: Store, namespace: string): void {
  const meta = (name: string): ObjectMeta => ({ name, namespace, uid: '', resourceVersion: '', creationTimestamp: '' });
  store.create('serviceaccounts', { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta('default') }, new Date());
  store.create(
    'configmaps',
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('kube-root-ca.crt'), data: { 'ca.crt': '' } },
    new Date(),
  );
}

/** Creates a namespace with its initial content. */
export function createNamespace(store: Store, name: string): void {
  const metadata = {
    name,
    labels: { 'kubernetes.io/metadata.name': name },
    uid: '',
    resourceVersion: '',
    creationTimestamp: '',
  };
  const rest = { spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } };
  store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata, ...rest }, new Date());
  furnish(store, name);
}

function prepared(store: Store, resource: Resource, object: KubeObject, causes: Cause[]): KubeObject {
  const { name, namespace = '' } = object.metadata;
  if (resource.name === 'namespaces') {
    const labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': name };
    return { ...withMetadata(object, { labels }), spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } };
  }
  if (resource.name === 'secrets') {
    const data = isJsonObject(object['data']) ? object['data'] : {};
    const added = Object.entries(isJsonObject(object['stringData']) ? object['stringData'] : {}).map(([key, value]) => [
      key,
      Buffer.from(String(value)).toString('base64'),
    ]);
    return {
      ...object,
      stringData: undefined,
      type: object['type'] ?? 'Opaque',
      data: { ...data, ...Object.fromEntries(added) },
    };
  }
  if (resource.name !== 'pods') return object;
  const raw = isJsonObject(object['spec']) ? object['spec'] : {};
  const spec = podSpec(object);
  causes.push(...podCauses(spec, raw));
  if (causes.length > 0) return object;
  const account = spec.serviceAccountName ?? 'default';
  if (store.get('serviceaccounts', namespace, account) === undefined) {
    throw forbidden(
      'pods',
      name,
      `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`,
    );
  }
  return { ...object, spec: withDefaults(raw), status: { phase: 'Pending', qosClass: 'BestEffort' } };
}

function requireNamespace(store: Store, resource: Resource, namespace: string, name: string): void {
  const found = store.get('namespaces', '', namespace);
  if (found === undefined) throw notFound('namespaces', namespace);
  if (found.metadata.deletionTimestamp === undefined) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  throw forbidden(resource.name, name, why, [
    {
      reason: 'NamespaceTerminating',
      message: `namespace ${namespace} is being terminated`,
      field: 'metadata.namespace',
    },
  ]);
}

function suffix(): string {
  // The real server's alphabet: no vowels, so that no words appear.
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  return [...randomBytes(5)].map((byte) => alphabet[byte % alphabet.length]).join('');
}

/** Whether the write is a dry run. @throws ApiFailure 422 when the parameter is invalid */
export function isDryRun(query: URLSearchParams): boolean {
  const dryRun = query.get('dryRun') ?? '';
  if (dryRun !== '' && dryRun !== 'All') {
    throw invalidObject('CreateOptions', '', [
      {
        reason: 'FieldValueNotSupported',
        field: 'dryRun',
        message: `Unsupported value: ${JSON.stringify(dryRun)}: supported values: "All"`,
      },
    ]);
  }
  return dryRun === 'All';
}

function checkedFields(
  resource: Resource,
  body: unknown,
  query: URLSearchParams,
): { value: JsonObject; warnings: readonly string[] } {
  if (!isJsonObject(body)) throw badRequest('the object provided is unrecognized (must be a JSON object)');
  const { kind = resource.kind, apiVersion = 'v1' } = body;
  if (kind !== resource.kind || apiVersion !== 'v1') {
    throw badRequest(
      `${String(kind)} in version "${String(apiVersion)}" cannot be handled as a ${resource.kind}: the path is for v1 ${resource.kind}`,
    );
  }
  if (resource.name !== 'pods') return { value: body, warnings: [] };
  const { value, unknown } = pruned(body, POD_FIELDS);
  const mode = query.get('fieldValidation') ?? 'Warn';
  const complaints = unknown.map((field) => `unknown field "${field}"`);
  if (mode === 'Strict' && complaints.length > 0) {
    throw badRequest(`Pod in version "v1" cannot be handled as a Pod: strict decoding error: ${complaints.join(', ')}`);
  }
  return { value, warnings: mode === 'Warn' ? complaints : [] };
}

function parseMetadata(value: unknown, resource: Resource): z.output<typeof metadataSchema> {
  const parsed = metadataSchema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw badRequest(
    `${resource.kind} in version "v1" cannot be handled as a ${resource.kind}: json: cannot unmarshal field metadata.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong type'}`,
  );
}

const CHANGEABLE = new Set([
  'activeDeadlineSeconds',
  'tolerations',
  'terminationGracePeriodSeconds',
  'schedulingGates',
]);

/** Most of a pod's spec is immutable. */
function requireFixedSpec(before: KubeObject, after: KubeObject): void {
  const fixed = (pod: KubeObject): string => {
    const spec = isJsonObject(pod['spec']) ? pod['spec'] : {};
    const rest = Object.entries(spec).filter(([field]) => !CHANGEABLE.has(field));
    return JSON.stringify(sorted(Object.fromEntries(rest)), (key, value: unknown) =>
      key === 'image' ? undefined : value,
    );
  };
  if (fixed(before) === fixed(after)) return;
  throw invalidObject('Pod', before.metadata.name, [
    {
      reason: 'FieldValueForbidden',
      field: 'spec',
      message:
        'Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
    },
  ]);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

/** Changes an object by a patch; `contentType` determines its kind. `status`: the patch is for the status only. */
export function patchObject(
  store: Store,
  request: ObjectRequest,
  patch: unknown,
  options: { readonly contentType: string; readonly status: boolean },
): KubeObject {
  const current = existing(store, request);
  let next: unknown;
  if (options.contentType.startsWith('application/json-patch+json')) next = jsonPatch(current, patch);
  else if (options.contentType.startsWith('application/merge-patch+json')) next = mergePatch(current, patch);
  else if (/^application\/(strategic-merge-patch\+json|apply-patch\+yaml)/u.test(options.contentType))
    next = strategicPatch(current, patch);
  else
    throw new ApiFailure(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - ${options.contentType}`,
    );
  const asked = options.contentType.includes('json-patch') ? undefined : at(patch, 'metadata', 'resourceVersion');
  return replace(store, request, current, next, {
    status: options.status,
    expectedVersion: typeof asked === 'string' ? asked : undefined,
  });
}

/** Replaces an object by the one in `body`, if that was made from the current version (or names none). */
export function updateObject(
  store: Store,
  request: ObjectRequest,
  body: unknown,
  options: { readonly status: boolean },
): KubeObject {
  const current = existing(store, request);
  const { value } = checkedFields(request.resource, body, request.query);
  const expectedVersion = textAt(value, 'metadata', 'resourceVersion');
  return replace(store, request, current, value, {
    status: options.status,
    expectedVersion: expectedVersion === '' ? undefined : expectedVersion,
  });
}

/** The object that a write is for. @throws ApiFailure 404 */
export function existing(store: Store, { resource, namespace, name = '' }: ObjectRequest): KubeObject {
  const found = store.get(resource.name, namespace ?? '', name);
  if (found === undefined) throw notFound(resource.name, name);
  return found;
}

function replace(
  store: Store,
  { resource, query }: ObjectRequest,
  current: KubeObject,
  next: unknown,
  options: { readonly status: boolean; readonly expectedVersion: string | undefined },
): KubeObject {
  const { name } = current.metadata;
  if (!isJsonObject(next)) throw badRequest('the result of the patch is no object');
  if (options.expectedVersion !== undefined && options.expectedVersion !== current.metadata.resourceVersion) {
    throw conflict(
      resource.name,
      name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  }
  const asked = parseMetadata(next['metadata'], resource);
  if (asked.uid !== undefined && asked.uid !== current.metadata.uid) {
    throw conflict(
      resource.name,
      name,
      `Precondition failed: UID in precondition: ${asked.uid}, UID in object meta: ${current.metadata.uid}`,
    );
  }
  const { uid, resourceVersion, creationTimestamp, namespace, deletionTimestamp, deletionGracePeriodSeconds } =
    current.metadata;
  const kept = {
    name,
    uid,
    resourceVersion,
    creationTimestamp,
    namespace,
    deletionTimestamp,
    deletionGracePeriodSeconds,
  };
  const causes = metadataCauses({ ...asked, name });
  if (causes.length > 0) throw invalidObject(resource.kind, name, causes);
  const object: KubeObject = options.status
    ? { ...current, status: next['status'] }
    : {
        ...next,
        apiVersion: 'v1',
        kind: resource.kind,
        metadata: { ...asked, ...kept },
        ...(resource.name === 'pods' && { status: current['status'] }),
      };
  if (resource.name === 'pods') {
    podSpec(object);
    requireFixedSpec(current, object);
  }
  if (isDryRun(query)) return object;
  const stored = store.update(resource.name, object);
  const isDeletable =
    stored.metadata.deletionTimestamp !== undefined && (stored.metadata.finalizers ?? []).length === 0;
  // The last finalizer was removed from an object that waited for nothing else.
  if (isDeletable && (stored.metadata.deletionGracePeriodSeconds ?? 0) === 0 && resource.name !== 'namespaces')
    store.remove(resource.name, namespace ?? '', name);
  return stored;
}
