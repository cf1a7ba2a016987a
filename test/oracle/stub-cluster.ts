/** A cluster and clock of recorded responses for the library's classes; calls are recorded under Airflow's names. */
import { recordIn, textIn } from '../../src/core/json.ts';
import { refusal } from '../../src/kubernetes/errors.ts';
import { KubernetesError } from '../../src/errors.ts';
import type { Cluster, Manifest } from '../../src/ports/cluster.ts';
import type { Clock } from '../../src/airflow/defaults.ts';
import { projectPod } from '../../src/core/pod/projection.ts';

/** The start of the recordings' clocks. */
export const BEGIN_MS = Date.parse('2024-01-02T12:00:00.250Z');

/** A clock that only moves when code sleeps. `endless` after 10,000 sleeps. */
export class SimulatedClock implements Clock {
  readonly sleeps: [number, number][] = [];
  #now: number;
  #count = 0;

  constructor(now = BEGIN_MS) {
    this.#now = now;
  }
  now(): number {
    return this.#now;
  }
  sleep(ms: number): Promise<void> {
    const seconds = ms / 1000;
    const last = this.sleeps.at(-1);
    if (last?.[0] === seconds) last[1] += 1;
    else this.sleeps.push([seconds, 1]);
    this.#now += ms;
    this.#count += 1;
    return this.#count > 10_000 ? Promise.reject(new RangeError('endless')) : Promise.resolve();
  }
}

/** The error of an API response with this status. */
export function apiError(status: number, retryAfter?: string): KubernetesError {
  const attempted = { what: 'call', connection: 'oracle', writes: false };
  return refusal(attempted, { status, body: '', ...(retryAfter === undefined ? {} : { retryAfter }) }, 0);
}

/** A recorded exception: an HTTP status, or a class. */
export function failureOf(what: unknown): Error {
  const status = Number(what);
  if (Number.isInteger(status)) return apiError(status);
  if (
    /urllib3\.|KubernetesApiE|HTTPError|ProtocolError|MaxRetryError|Timeout|Connection|OSError|gaierror/.test(
      String(what),
    )
  )
    return new KubernetesError('unavailable', 'the connection broke', { status: 0, reason: String(what) });
  return new RangeError(String(what));
}

const nowhere = (): Promise<never> => Promise.reject(new RangeError('the recording has no such call'));

/** A cluster that supports only the calls in `parts`. */
export function stubCluster(parts: Partial<Cluster>): Cluster {
  const cluster: Cluster = {
    connection: 'oracle',
    namespace: 'ns',
    watchPods$: () => {
      throw new RangeError('nothing is watched');
    },
    unansweredMs: () => 0,
    createPod: nowhere,
    getPod: nowhere,
    findPod: async ({ namespace, name, uid }) => {
      const found = await cluster.getPod(namespace, name);
      const pod = found === undefined ? undefined : cluster.project(found);
      return pod?.uid === uid ? pod : undefined;
    },
    project: (pod) => projectPod('oracle', pod),
    listPods: nowhere,
    deletePod: nowhere,
    patchPod: nowhere,
    logs: () => {
      throw new RangeError('nothing is read');
    },
    exec: nowhere,
    podEvents: () => Promise.resolve([]),
    missingPermissions: () => Promise.resolve([]),
    version: () => Promise.resolve('0'),
    requestCounts: () => ({}),
    [Symbol.asyncDispose]: () => Promise.resolve(),
    ...parts,
  };
  return cluster;
}

export const nameIn = (pod: Manifest | undefined): string => textIn(recordIn(pod, 'metadata'), 'name') ?? '';

/** A recorded pod, with the uid that every real one has. */
export function withUid(pod: Manifest): Manifest {
  return { ...pod, metadata: { uid: `uid-${nameIn(pod)}`, ...recordIn(pod, 'metadata') } };
}
