/** What one step of a run with a pod works with. */
import { LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Problem } from '../errors.ts';
import type { Cluster, PodEventLine } from '../ports/cluster.ts';
import type { PodCallbacks } from './callbacks.ts';
import type { LineFormat } from './logs/reader.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import type { StepCallbacks } from './step-callbacks.ts';

/** A run seen as a pod run: what it waits for, its logs, its result. */
export interface PodRun {
  readonly params: PodParams;
  /** What is wrong with the parameters at this attempt. */
  readonly problems: readonly Problem[];
  /** The callbacks that the run names. Default: none. */
  readonly callbacks?: readonly PodCallbacks[];
  /** The log formatter that the run names. Default: log lines stay as they are. */
  readonly format?: LineFormat | undefined;
}

/** One step on one cluster. */
export interface PodStep {
  readonly context: StepContext<unknown>;
  /** The run's parameters as those of a pod run, templates rendered. */
  readonly params: PodParams;
  readonly cluster: Cluster;
  /** Absent: the run names none. */
  readonly callbacks?: StepCallbacks | undefined;
  /** Changes the text of log lines before they are stored. Default: stored as they are. */
  readonly format?: LineFormat | undefined;
  /** Kubernetes events by the uid of their pod; read once per step. */
  readonly events: Map<string, Promise<readonly PodEventLine[]>>;
}

/** The pod's Kubernetes events as they were when first read in this step; empty where they cannot be read. */
export async function eventsOf(step: PodStep, pod: PodRef): Promise<readonly PodEventLine[]> {
  const read = step.events.get(pod.uid) ?? readEvents(step, pod);
  step.events.set(pod.uid, read);
  return await read;
}

async function readEvents({ cluster, context }: PodStep, pod: PodRef): Promise<readonly PodEventLine[]> {
  try {
    return await cluster.podEvents(pod);
  } catch (error) {
    context.log.warn({ pod: pod.name, err: error }, 'pod events could not be read');
    return [];
  }
}

/** Marks a pod that stays after its attempt: nothing is left to do with it. */
export async function markChecked({ cluster }: PodStep, pod: PodRef): Promise<void> {
  await cluster.patchPod(pod, { metadata: { labels: { [LABELS.alreadyChecked]: LABEL_TRUE } } });
}
