/** What one step of a pod run works with: its parameters, its cluster, its pods, its callbacks. */
import type { Cluster } from '../ports/cluster.ts';
import type { LineFormat } from './logs/reader.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import { podsOf, type RunPods } from './run-pods.ts';
import { type CallbackHost, StepCallbacks } from './step-callbacks.ts';

/** One step. `params`: rendered. */
export interface PodStep {
  readonly context: StepContext<PodParams>;
  readonly params: PodParams;
  readonly cluster: Cluster;
  readonly pods: RunPods;
  readonly callbacks: StepCallbacks;
  /** What is stored of a log line instead of its text. */
  readonly format: LineFormat | undefined;
}

/** A step on `cluster`. */
export function podStep(
  host: CallbackHost,
  context: StepContext<PodParams>,
  params: PodParams,
  cluster: Cluster,
  format?: LineFormat,
): PodStep {
  const callbacks = new StepCallbacks(host, context, params, cluster);
  return { context, params, cluster, pods: podsOf(context, cluster), callbacks, format };
}

/** Delete requests carry this many seconds, where the run says so. */
export function graceOf({ params }: PodStep): number | undefined {
  return params.terminationGracePeriod ?? undefined;
}
