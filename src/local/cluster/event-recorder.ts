import { randomBytes } from 'node:crypto';
import { rfc3339, withMetadata, type KubeObject } from './objects.ts';
import type { Store } from './store.ts';

/** Events beyond this number are dropped, oldest first; a real cluster keeps them for an hour. */
const MAX_EVENTS = 5000;

/** Writes the events of a kubelet and a scheduler, counting repetitions. */
export class EventRecorder {
  readonly #store: Store;
  readonly #host: string;
  readonly #known = new Map<string, { readonly namespace: string; readonly name: string }>();

  constructor(store: Store, host: string) {
    this.#store = store;
    this.#host = host;
  }

  /** Records an event of `pod`; `fieldPath` names the container. */
  record(pod: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string, fieldPath?: string): void {
    const { name, namespace = '', uid, resourceVersion } = pod.metadata;
    if (this.#store.get('namespaces', '', namespace) === undefined) return;
    const now = rfc3339(new Date());
    const key = [uid, reason, message, fieldPath].join('\n');
    const known = this.#known.get(key);
    const earlier = known === undefined ? undefined : this.#store.get('events', known.namespace, known.name);
    if (earlier !== undefined) {
      this.#store.update('events', {
        ...withMetadata(earlier, {}),
        count: Number(earlier['count']) + 1,
        lastTimestamp: now,
      });
      return;
    }
    const scheduler = reason === 'Scheduled' || reason === 'FailedScheduling';
    const component = scheduler ? 'default-scheduler' : 'kubelet';
    const event = this.#store.create(
      'events',
      {
        kind: 'Event',
        apiVersion: 'v1',
        metadata: {
          name: `${name}.${randomBytes(8).toString('hex')}`,
          namespace,
          uid: '',
          resourceVersion: '',
          creationTimestamp: '',
        },
        involvedObject: {
          kind: 'Pod',
          namespace,
          name,
          uid,
          apiVersion: 'v1',
          resourceVersion,
          ...(fieldPath !== undefined && { fieldPath }),
        },
        reason,
        message,
        source: scheduler ? { component } : { component, host: this.#host },
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
        type,
        eventTime: null,
        reportingComponent: component,
        reportingInstance: scheduler ? '' : this.#host,
      },
      new Date(),
    );
    this.#known.set(key, { namespace, name: event.metadata.name });
    for (const [oldest, { namespace: at, name: event }] of this.#known) {
      if (this.#known.size <= MAX_EVENTS) break;
      this.#known.delete(oldest);
      this.#store.remove('events', at, event);
    }
  }
}
