/** What a `KubernetesPodOperator` of a program's own is made with, and what its steps come to. */
import { z } from 'zod';
import type { RunContext } from '../wire/run-request.ts';
import type { Clock } from './defaults.ts';
import type { PodCallbacks } from '../operator/callbacks.ts';
import type { PodOperatorHookProtocol } from './pod-operator-hook-protocol.ts';
import type { PodParamsInput } from '../operator/pod-params.ts';
import type { PodManifestOptions } from '../operator/pod-manifests.ts';
import type { Log } from '../ports/ambient.ts';

/** The task instance. `xcomPush` gets `pod_name`, `pod_namespace`, and the result of a failed pod as `return_value`. */
export interface TaskContext extends RunContext {
  readonly tryNumber?: number;
  readonly xcomPush?: (key: string, value: unknown) => void | Promise<void>;
}

/** Parameters as a request has them, and what only code can give. */
export interface KubernetesPodOperatorParams extends Omit<
  PodParamsInput,
  'callbacks' | 'configFile' | 'inCluster' | 'clusterContext' | 'progressCallback' | 'logFormatter'
> {
  /** The cluster; made by `hookOf`, or any object of the protocol. */
  readonly hook: PodOperatorHookProtocol;
  /** The seed’s older word for a callback’s `progressCallback`: called for each line after all `callbacks`. */
  readonly progressCallback?: PodCallbacks['progressCallback'] | undefined;
  readonly taskId?: string;
  readonly callbacks?: PodCallbacks | readonly PodCallbacks[];
  readonly logFormatter?: ((containerName: string, message: string) => string) | undefined;
  readonly podSecurity?: PodManifestOptions['podSecurity'];
  readonly podTemplates?: PodManifestOptions['podTemplates'];
  /** Copied into the arguments of the deferral's trigger. */
  readonly executionTimeoutSeconds?: number;
  readonly log?: Log;
  readonly clock?: Clock;
}

/** What a monitor says of the pod; unknown fields are kept. */
export const podEventSchema = z.looseObject({
  status: z.enum(['success', 'failed', 'error', 'timeout', 'running']),
  name: z.string(),
  namespace: z.string(),
  message: z.string().optional(),
  stackTrace: z.string().optional(),
  lastLogTime: z.string().nullish(),
  /** How often an error has found the pod alive already. */
  redeferCount: z.number().int().default(0),
});
export type PodEvent = z.input<typeof podEventSchema>;

/** The task lets go: whoever watches the pod with these arguments calls `triggerReentry` with its event. */
export interface TaskDeferred {
  readonly kind: 'deferred';
  readonly methodName: 'triggerReentry';
  readonly trigger: Readonly<Record<string, unknown>>;
}
/** The task is over, and succeeded: what it returned. Failure is thrown. */
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

/** The parameters that a request could have, too. */
export function requestParams(options: KubernetesPodOperatorParams): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OWN.includes(name)));
}
