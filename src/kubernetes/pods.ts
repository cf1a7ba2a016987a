/** Creates, reads, deletes and patches single pods. Safe against lost replies. */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isRecord, recordIn, textIn } from '../core/json.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError, type KubernetesFault } from '../errors.ts';
import type { CreateOptions, CreateOutcome, Manifest } from '../ports/cluster.ts';
import type { Call, Http } from './http.ts';
import { isOtherUid } from './errors.ts';

/** A name as one segment of an API path: names come from requests. A name of dots only would lead to another path, however it is encoded. */
function segment(name: string): string {
  if (name !== '.' && name !== '..') return encodeURIComponent(name);
  throw new KubernetesError('invalid', `"${name}" is not a valid name`, { status: 0, reason: 'Invalid' });
}

/** The pods of a namespace, or of all. */
export function podsPath(namespace: string | undefined): string {
  return namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${segment(namespace)}/pods`;
}

/** One pod, or one of its subresources. */
export function podPath(namespace: string, name: string, subresource?: 'log' | 'exec'): string {
  const path = `${podsPath(namespace)}/${segment(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** How often a creation is retried when it conflicts over the namespace's quota object. */
const QUOTA_RACES = 10;

const isFault = (error: unknown, ...faults: readonly KubernetesFault[]): error is KubernetesError =>
  error instanceof KubernetesError && faults.includes(error.fault);

/** The pod of that name, undefined when there is none. */
export async function getPod(http: Http, namespace: string, name: string): Promise<Manifest | undefined> {
  try {
    const pod = await http.json({
      method: 'GET',
      path: podPath(namespace, name),
      what: `get pod ${namespace}/${name}`,
      count: 'get',
    });
    return isRecord(pod) ? pod : undefined;
  } catch (error) {
    if (isFault(error, 'notFound')) return undefined;
    throw error;
  }
}

/**
 * Creates a pod from raw JSON; the server refuses unknown fields. When the name is taken, returns the pod that has it. The same after a
 * lost reply, because the caller's name stands for one attempt.
 */
export async function createPod(
  http: Http,
  namespace: string,
  manifest: Manifest,
  options: CreateOptions = {},
): Promise<CreateOutcome> {
  const name = textIn(recordIn(manifest, 'metadata'), 'name') ?? '';
  const what = `create pod ${namespace}/${name}`;
  const call: Call = {
    method: 'POST',
    path: podsPath(namespace),
    query: { fieldValidation: 'Strict', dryRun: options.dryRun === true ? 'All' : undefined },
    body: manifest,
    what,
    count: 'create',
    readOnly: options.dryRun === true,
    before: options.before,
  };
  let unknown: KubernetesError | undefined;
  for (let races = 0; ;) {
    try {
      const pod = await http.json(call);
      return { kind: 'created', pod: isRecord(pod) ? pod : manifest };
    } catch (error) {
      if (isFault(error, 'alreadyExists')) {
        const pod = await getPod(http, namespace, name);
        if (pod !== undefined) return { kind: 'exists', pod };
        // It was deleted between the two calls.
        if (++races > QUOTA_RACES) throw error;
      } else if (isFault(error, 'unknownOutcome')) {
        const pod = await seen(http, namespace, name, error);
        if (pod !== undefined) return { kind: 'exists', pod };
        // Retry: should the first request still arrive, the second gets AlreadyExists.
        if (unknown !== undefined) throw error;
        unknown = error;
      } else if (isFault(error, 'quota') && error.status === 409 && ++races <= QUOTA_RACES) {
        await delay(randomInt(50, 500));
      } else throw error;
    }
  }
}

/** GET after a lost reply. When that fails too, the outcome stays unknown. */
async function seen(http: Http, namespace: string, name: string, lost: KubernetesError): Promise<Manifest | undefined> {
  if (name === '') throw lost;
  try {
    return await getPod(http, namespace, name);
  } catch {
    throw lost;
  }
}

/** Deletes exactly this pod. Safe to repeat: another pod of that name is not affected. */
export async function deletePod(
  http: Http,
  pod: PodRef,
  gracePeriodSeconds?: number | null,
): Promise<'asked' | 'gone'> {
  const call: Call = {
    method: 'DELETE',
    path: podPath(pod.namespace, pod.name),
    body: {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      preconditions: { uid: pod.uid },
      propagationPolicy: 'Background',
      ...(typeof gracePeriodSeconds === 'number' ? { gracePeriodSeconds } : {}),
    },
    what: `delete pod ${pod.namespace}/${pod.name}`,
    count: 'delete',
  };
  return (await unlessGone(http, pod, call)) === undefined ? 'gone' : 'asked';
}

/** Merges `patch` into exactly this pod. Safe to repeat. */
export async function patchPod(http: Http, pod: PodRef, patch: Manifest): Promise<'patched' | 'gone'> {
  const call: Call = {
    method: 'PATCH',
    path: podPath(pod.namespace, pod.name),
    query: { fieldValidation: 'Strict' },
    // A uid in the patch is a precondition: another pod of that name refuses the change.
    body: { ...patch, metadata: { ...recordIn(patch, 'metadata'), uid: pod.uid } },
    contentType: 'application/merge-patch+json',
    what: `patch pod ${pod.namespace}/${pod.name}`,
    count: 'patch',
  };
  return (await unlessGone(http, pod, call)) === undefined ? 'gone' : 'patched';
}

/** Sends a write that is safe to repeat, and repeats it once after a lost reply. Undefined: no such pod, or another uid. */
async function unlessGone(http: Http, pod: PodRef, call: Call): Promise<unknown> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return (await http.json(call)) ?? {};
    } catch (error) {
      if (isFault(error, 'notFound') || isOtherUid(error)) return undefined;
      if (isFault(error, 'conflict')) {
        // The uid is the only precondition, but the server's own writers may conflict too.
        const present = await getPod(http, pod.namespace, pod.name);
        if (textIn(recordIn(present, 'metadata'), 'uid') !== pod.uid) return undefined;
      }
      if (!isFault(error, 'unknownOutcome') || attempt > 1) throw error;
    }
  }
}
