/** Parameters, events and results of `KubernetesPodOperator`. */
import { z } from 'zod';
import type { PodCallbacks } from '../operator/callbacks.ts';
import type { PodManifestOptions } from '../operator/pod-manifests.ts';
import type { PodParamsInput } from '../operator/pod-params.ts';
import type { Log } from '../ports/ambient.ts';
import type { RunContext } from '../wire/run-request.ts';
import type { Clock } from './defaults.ts';
import type { PodOperatorHookProtocol } from './pod-operator-hook-protocol.ts';

/** The task instance. `xcomPush` gets `pod_name`, `pod_namespace`, and the result of a failed pod as `return_value`. */
export interface TaskContext extends RunContext {
  readonly tryNumber?: number;
  /** When the task began, for its execution time-out. Default: when its pod was created. */
  readonly startDate?: Date;
  readonly xcomPush?: (key: string, value: unknown) => void | Promise<void>;
}

/** The parameters of a `pod` run, and those that only code can pass. */
export interface KubernetesPodOperatorParams extends Omit<
  PodParamsInput,
  'callbacks' | 'configFile' | 'inCluster' | 'clusterContext' | 'progressCallback' | 'logFormatter'
> {
  /** The cluster, from `hookOf` or `openHook`. */
  readonly hook: PodOperatorHookProtocol;
  /** Called for each log line, after all `callbacks`. Deprecated in Airflow in favour of `callbacks`. */
  readonly progressCallback?: PodCallbacks['progressCallback'] | undefined;
  readonly taskId?: string;
  readonly callbacks?: PodCallbacks | readonly PodCallbacks[];
  readonly logFormatter?: ((containerName: string, message: string) => string) | undefined;
  readonly podSecurity?: PodManifestOptions['podSecurity'];
  readonly podTemplates?: PodManifestOptions['podTemplates'];
  /** Becomes `activeDeadlineSeconds` of the pod, and `executionDeadline` of the deferral's trigger. */
  readonly executionTimeoutSeconds?: number;
  readonly log?: Log;
  readonly clock?: Clock;
}

/** A trigger event; unknown fields are kept. */
export const podEventSchema = z.looseObject({
  status: z.enum(['success', 'failed', 'error', 'timeout', 'running']),
  name: z.string(),
  namespace: z.string(),
  message: z.string().optional(),
  stackTrace: z.string().optional(),
  lastLogTime: z.string().nullish(),
  /** How often an `error` event has deferred again so far. */
  redeferCount: z.number().int().default(0),
});
export type PodEvent = z.input<typeof podEventSchema>;

/** The task is deferred: wait for the pod with a trigger of these arguments and call `triggerReentry` with its event. */
export interface TaskDeferred {
  readonly kind: 'deferred';
  readonly methodName: 'triggerReentry';
  readonly trigger: Readonly<Record<string, unknown>>;
}
/** The task has succeeded with this result. Failures are thrown. */
export interface TaskReturned {
  readonly kind: 'returned';
  readonly result: unknown;
}

const OWN: readonly string[] = [
  'hook',
  'taskId',
  'callbacks',
  'progressCallback',
  'logFormatter',
  'podSecurity',
  'podTemplates',
  'executionTimeoutSeconds',
  'log',
  'clock',
] satisfies readonly (keyof KubernetesPodOperatorParams)[];

/** The parameters that a request has as well. */
export function requestParams(options: KubernetesPodOperatorParams): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OWN.includes(name)));
}
