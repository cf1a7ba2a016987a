/** What an executor knows about its tasks, by `keyText`. In memory only: pods carry everything that an adopting executor needs. */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { Adopter } from './adoption.ts';
import type { AirflowKubernetesScheduler } from './airflow-kubernetes-scheduler.ts';
import type { BaseExecutor } from './base-executor.ts';
import type { KubeConfig } from './kube-config.ts';
import { LaunchedPods } from './launched-pods.ts';
import type { KubernetesJob, KubernetesResults, PodLaunchAttempt, TaskStore } from './records.ts';
import { keyText } from './task-key.ts';
import { TaskQueue } from './task-queue.ts';

/** Queues, attempts and pods of one executor. */
export class TaskRegistry {
  readonly taskQueue = new TaskQueue<KubernetesJob>();
  readonly resultQueue = new TaskQueue<KubernetesResults>();
  readonly attempts = new Map<string, PodLaunchAttempt>();
  /** Refused creations of each task so far. */
  readonly publishRetries = new Map<string, number>();
  /** How often a task was revoked because its pod stayed pending. */
  readonly stuckRevocations = new Map<string, number>();
  /** When `executeAsync` was called for the task, epoch milliseconds. */
  readonly lastHandled = new Map<string, number>();
  readonly launched: LaunchedPods;

  /** @param nowMs monotonic milliseconds */
  constructor(nowMs: () => number) {
    this.launched = new LaunchedPods(nowMs);
  }

  /** Removes everything about a task that has ended. */
  forget(key: TaskKey): void {
    const id = keyText(key);
    for (const known of [this.attempts, this.publishRetries, this.stuckRevocations, this.lastHandled]) known.delete(id);
    this.launched.delete(id);
  }
}

/** What the functions of a started executor share. */
export interface ExecutorParts {
  /** The executor's slots and events. */
  readonly tasks: Pick<BaseExecutor, 'running' | 'recordEvent' | 'fail' | 'eventOf' | 'dropEvent'>;
  readonly registry: TaskRegistry;
  readonly scheduler: AirflowKubernetesScheduler;
  readonly cluster: Cluster;
  readonly kubeConfig: KubeConfig;
  readonly owner: string;
  readonly store: TaskStore;
  readonly log: Log | undefined;
}

/** The adopter of a started executor. */
export function adopterOf({ cluster, kubeConfig, owner, scheduler, log }: ExecutorParts): Adopter {
  return { cluster, kubeConfig, owner, writes: scheduler.writes, log };
}
