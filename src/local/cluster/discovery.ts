import { isJsonObject, type JsonObject } from './objects.ts';
import { RESOURCES, type Resource } from './resources.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const KUBERNETES_VERSION = { major: '1', minor: '34', gitVersion: 'v1.34.0+reentry-local' };

const REVIEWS: Readonly<Record<string, { readonly name: string; readonly kind: string }>> = {
  'authorization.k8s.io': { name: 'selfsubjectaccessreviews', kind: 'SelfSubjectAccessReview' },
  'authentication.k8s.io': { name: 'selfsubjectreviews', kind: 'SelfSubjectReview' },
};

/** The reply to a discovery path (`/version`, `/api`, `/apis/…`, `/openapi/v3/…`); undefined for other paths. */
export function discovery(path: string): JsonObject | undefined {
  switch (path) {
    case '/version':
      return {
        ...KUBERNETES_VERSION,
        gitCommit: '',
        gitTreeState: 'clean',
        goVersion: '',
        compiler: '',
        platform: 'linux/amd64',
      };
    case '/api':
      return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
    case '/api/v1':
      return {
        kind: 'APIResourceList',
        groupVersion: 'v1',
        resources: RESOURCES.flatMap((resource) => entries(resource)),
      };
    case '/apis':
      return { kind: 'APIGroupList', apiVersion: 'v1', groups: Object.keys(REVIEWS).map((group) => groupEntry(group)) };
    case '/openapi/v3':
      return { paths: { 'api/v1': { serverRelativeURL: '/openapi/v3/api/v1' } } };
    case '/openapi/v3/api/v1':
      return openapi();
  }
  const [, apis, group, version] = path.split('/');
  const review = apis === 'apis' && group !== undefined ? REVIEWS[group] : undefined;
  if (review === undefined || group === undefined) return undefined;
  if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...groupEntry(group) };
  if (path !== `/apis/${group}/v1`) return undefined;
  const resources = [{ name: review.name, singularName: '', namespaced: false, kind: review.kind, verbs: ['create'] }];
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: `${group}/v1`, resources };
}

/** The reply to a posted access review: everything is allowed that `isDenied` does not deny. */
export function review(
  group: string,
  name: string,
  body: JsonObject,
  isDenied: (verb: string, resource: string) => boolean,
): JsonObject | undefined {
  if (REVIEWS[group]?.name !== name) return undefined;
  const apiVersion = `${group}/v1`;
  if (name === 'selfsubjectreviews') {
    const userInfo = { username: 'reentry-local', groups: ['system:masters', 'system:authenticated'] };
    return { kind: 'SelfSubjectReview', apiVersion, metadata: {}, status: { userInfo } };
  }
  const spec = isJsonObject(body['spec']) ? body['spec'] : {};
  const asked = isJsonObject(spec['resourceAttributes']) ? spec['resourceAttributes'] : {};
  const field = (key: string): string => (typeof asked[key] === 'string' ? asked[key] : '');
  const resource = field('subresource') === '' ? field('resource') : `${field('resource')}/${field('subresource')}`;
  const allowed = !isDenied(field('verb'), resource);
  const status = allowed ? { allowed } : { allowed, reason: 'denied by a fault of the local cluster' };
  return { kind: 'SelfSubjectAccessReview', apiVersion, metadata: {}, spec, status };
}

function groupEntry(group: string): JsonObject {
  const version = { groupVersion: `${group}/v1`, version: 'v1' };
  return { name: group, versions: [version], preferredVersion: version };
}

function entries({ name, singular, kind, shortNames, namespaced, subresources }: Resource): readonly JsonObject[] {
  const verbsOf: Readonly<Record<string, readonly string[]>> = {
    log: ['get'],
    status: ['get', 'patch', 'update'],
    eviction: ['create'],
  };
  return [
    {
      name,
      singularName: singular,
      namespaced,
      kind,
      verbs: VERBS,
      ...(shortNames.length > 0 && { shortNames }),
      // `kubectl get all` asks for this category.
      ...(name === 'pods' && { categories: ['all'] }),
    },
    ...subresources.map((sub) => ({
      name: `${name}/${sub}`,
      singularName: '',
      namespaced,
      kind,
      verbs: verbsOf[sub] ?? [],
    })),
  ];
}

/** As much OpenAPI as kubectl needs before it leaves field validation to the server. */
function openapi(): JsonObject {
  const parameters = ['fieldValidation', 'dryRun'].map((name) => ({
    name,
    in: 'query',
    schema: { type: 'string', uniqueItems: true },
  }));
  const paths = RESOURCES.map(({ name, kind, namespaced }) => [
    `/api/v1/${namespaced ? 'namespaces/{namespace}/' : ''}${name}/{name}`,
    { patch: { 'x-kubernetes-group-version-kind': { group: '', version: 'v1', kind }, parameters, responses: {} } },
  ]);
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: KUBERNETES_VERSION.gitVersion },
    paths: Object.fromEntries(paths),
  };
}
