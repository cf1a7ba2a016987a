/** Asks the API server what the credentials may do (SelfSubjectAccessReview). */
import { accessText } from '../core/rbac.ts';
import { recordIn } from '../core/json.ts';
import type { Http } from './http.ts';

/** An RBAC permission. `namespace` absent: in all namespaces. */
export interface Permission {
  readonly verb: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
}

/** Those of `wanted` that are not granted, as `verb resource[/subresource]`, in the given order. */
export async function missingPermissions(http: Http, wanted: readonly Permission[]): Promise<readonly string[]> {
  const granted = await Promise.all(wanted.map((permission) => isGranted(http, permission)));
  return wanted.filter((_, index) => granted[index] !== true).map(accessText);
}

async function isGranted(http: Http, permission: Permission): Promise<boolean> {
  const { verb, resource, subresource, namespace } = permission;
  const attributes = { verb, resource, subresource, namespace };
  const review = await http.json({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { ...attributes, group: '' } },
    },
    what: `review access to ${permission.verb} ${permission.resource}`,
    count: 'review',
    readOnly: true,
  });
  return recordIn(review, 'status')['allowed'] === true;
}
