/** Lists pods in pages: each page is projected and released before the next is requested. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { recordIn, recordsIn, textIn } from '../core/json.ts';
import { type PodProjection, projectPod } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { Http } from './http.ts';
import { podsPath } from './pods.ts';

/** Which pods. `namespace` undefined: all namespaces. */
export interface PodScope {
  readonly namespace: string | undefined;
  readonly labelSelector: string;
}

/** A complete list, and the version from which a watch continues. */
export interface PodList {
  readonly pods: readonly PodProjection[];
  readonly resourceVersion: string;
}

/** How often a list is started again after its `continue` token expired. */
const RESTARTS = 3;

/** All pods of a scope as of one resource version. */
export async function listPods(http: Http, scope: PodScope, pageSize: number, signal?: AbortSignal): Promise<PodList> {
  for (let restart = 0; ; restart += 1) {
    try {
      return await listOnce(http, scope, pageSize, signal);
    } catch (error) {
      const expired = error instanceof KubernetesError && error.fault === 'expired';
      if (!expired || restart >= RESTARTS) throw error;
    }
  }
}

async function listOnce(http: Http, scope: PodScope, pageSize: number, signal?: AbortSignal): Promise<PodList> {
  const pods: PodProjection[] = [];
  let next: string | undefined;
  let resourceVersion: string | undefined;
  do {
    const page = await http.json({
      method: 'GET',
      path: podsPath(scope.namespace),
      query: { labelSelector: scope.labelSelector || undefined, limit: pageSize, continue: next },
      what: `list pods of ${scope.namespace ?? 'all namespaces'}`,
      count: 'list',
      signal,
    });
    for (const pod of recordsIn(page, 'items')) pods.push(projectPod(http.connection, pod));
    const metadata = recordIn(page, 'metadata');
    // All pages show the version of the first one; a watch from there misses nothing.
    resourceVersion ??= textIn(metadata, 'resourceVersion');
    next = textIn(metadata, 'continue');
    // Decoding a page takes milliseconds: yield to the event loop between pages.
    await nextTurn();
  } while (next !== undefined);
  return { pods, resourceVersion: resourceVersion ?? '' };
}
