/** Events of one pod, newest last. */
import { instantIn, numberIn, recordIn, recordsIn, textIn } from '../core/json.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { PodEventLine } from '../ports/cluster.ts';
import type { Http } from './http.ts';

/** A pod has a handful; repeated events of a crash loop are counted in one object. */
const MOST = 200;

/** Events of exactly this pod. Best effort: the server keeps events for an hour and drops floods. */
export async function podEvents(http: Http, pod: PodRef): Promise<readonly PodEventLine[]> {
  const list = await http.json({
    method: 'GET',
    path: `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/events`,
    query: { fieldSelector: `involvedObject.uid=${pod.uid}`, limit: MOST },
    what: `list events of pod ${pod.namespace}/${pod.name}`,
    count: 'list',
  });
  return recordsIn(list, 'items')
    .map((event) => {
      const series = recordIn(event, 'series');
      return {
        type: textIn(event, 'type') ?? 'Normal',
        reason: textIn(event, 'reason') ?? '',
        message: textIn(event, 'message') ?? textIn(event, 'note') ?? '',
        count: numberIn(event, 'count') ?? numberIn(series, 'count') ?? 1,
        lastSeenAt:
          instantIn(series, 'lastObservedTime') ??
          instantIn(event, 'lastTimestamp') ??
          instantIn(event, 'eventTime') ??
          instantIn(recordIn(event, 'metadata'), 'creationTimestamp') ??
          0,
      };
    })
    .sort((one, other) => one.lastSeenAt - other.lastSeenAt);
}
