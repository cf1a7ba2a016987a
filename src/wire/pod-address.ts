/** What a pod's annotations name, checked: anybody who may create pods with the installation's labels writes them. */
import type { PodProjection } from '../core/pod/projection.ts';
import type { RunKey } from './subjects.ts';
import { isTokenText, QUEUE_PATTERN } from './tokens.ts';

/** The run that a pod says it is of; `undefined` where its annotations name none, or one that cannot be. */
export function runOfPod({ tenant, runId }: Pick<PodProjection, 'tenant' | 'runId'>): RunKey | undefined {
  if (tenant === undefined || runId === undefined) return undefined;
  return isTokenText(tenant) && isTokenText(runId) ? { tenant, runId } : undefined;
}

/** The queue that a pod says its run is of; `fallback` where it names none, or one that cannot be. */
export function queueOfPod({ queue }: Pick<PodProjection, 'queue'>, fallback: string): string {
  return queue !== undefined && QUEUE_PATTERN.test(queue) ? queue : fallback;
}
