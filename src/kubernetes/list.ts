/** Pods in pages: each page is projected and let go before the next is asked for. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { recordIn, recordsIn, textIn } from '../core/json.ts';
import { type PodProjection, projectPod } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { Http } from './http.ts';
import { podsPath } from './paths.ts';

/** Which pods. `namespace` undefined: of all namespaces. */
export interface PodScope {
  readonly namespace: string | undefined;
  readonly labelSelector: string;
}

/** A complete list, and where a watch goes on from it. */
export interface PodList {
  readonly pods: readonly PodProjection[];
  readonly resourceVersion: string;
}

/** A list that takes longer than its `continue` token lives starts again, so often. */
const RESTARTS = 3;

/** All pods of a scope as of one moment. */
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
    // All pages show the moment of the first one; a watch from there misses nothing.
    resourceVersion ??= textIn(metadata, 'resourceVersion');
    next = textIn(metadata, 'continue');
    // Decoding a page takes milliseconds: let others have their turn.
    await nextTurn();
  } while (next !== undefined);
  return { pods, resourceVersion: resourceVersion ?? '' };
}
