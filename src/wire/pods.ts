/** Pods inside messages and stored values, and the run that a pod names in its annotations. */
import { z } from 'zod';
import type { ContainerProjection, PodProjection, PodRef } from '../core/pod/projection.ts';
import { count, instant } from './fields.ts';
import type { RunKey } from './subjects.ts';
import { isTokenText, QUEUE_PATTERN } from './tokens.ts';

/** Which pod: the name alone may be reused, so the uid too. */
export const podRefSchema = z.looseObject({
  connection: z.string().describe('Name of the Kubernetes connection.'),
  namespace: z.string(),
  name: z.string(),
  uid: z.string(),
}) satisfies z.ZodType<PodRef>;

const containerSchema = z.looseObject({
  name: z.string(),
  kind: z.enum(['init', 'sidecar', 'main']),
  state: z.enum(['waiting', 'running', 'terminated']),
  reason: z.string().optional(),
  message: z.string().optional(),
  exitCode: z.number().int().optional(),
  signal: z.number().int().optional(),
  startedAt: instant.optional(),
  finishedAt: instant.optional(),
  restartCount: count,
}) satisfies z.ZodType<ContainerProjection>;

/** The pod inside a trigger event. A worker can continue from it when the pod is already gone, without a GET. */
export const podProjectionSchema = podRefSchema.extend({
  resourceVersion: z.string(),
  phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']),
  reason: z.string().optional(),
  message: z.string().optional(),
  node: z.string().optional(),
  createdAt: instant,
  deletedAt: instant.optional(),
  scheduledAt: instant.optional(),
  unschedulable: z.looseObject({ reason: z.string(), message: z.string() }).optional(),
  gates: z.string().optional(),
  ungatedAt: instant.optional(),
  disruption: z.string().optional(),
  baseContainer: z.string(),
  containers: z.array(containerSchema),
  tenant: z.string().optional(),
  runId: z.string().optional(),
  attempt: count.optional(),
  queue: z.string().optional(),
  alreadyChecked: z.boolean(),
}) satisfies z.ZodType<PodProjection>;

/** The run that a pod's annotations name; `undefined` where they name none or an invalid one. Anyone who may create pods can write them. */
export function runOfPod({ tenant, runId }: Pick<PodProjection, 'tenant' | 'runId'>): RunKey | undefined {
  if (tenant === undefined || runId === undefined) return undefined;
  return isTokenText(tenant) && isTokenText(runId) ? { tenant, runId } : undefined;
}

/** The queue that a pod's annotations name; `fallback` where they name none or an invalid one. */
export function queueOfPod({ queue }: Pick<PodProjection, 'queue'>, fallback: string): string {
  return queue !== undefined && QUEUE_PATTERN.test(queue) ? queue : fallback;
}
