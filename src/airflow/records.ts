/** Records in the executor's queues (`KubernetesJob`, `KubernetesWatch`, `KubernetesResults`), their states, and the task store it may ask. */
import type { JsonRecord } from '../core/json.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import type { IdentityAnnotations } from './task-key.ts';

/** Task states that an executor reports or reads; Airflow's `TaskInstanceState`. */
export type TaskState =
  | 'scheduled'
  | 'queued'
  | 'running'
  | 'restarting'
  | 'success'
  | 'failed'
  | 'skipped'
  | 'up_for_retry'
  | 'up_for_reschedule'
  | 'upstream_failed'
  | 'deferred'
  | 'removed';

/** The pod left the watch without ending: another scheduler adopted it, or it was labelled as done. */
export const ADOPTED = 'adopted';
/** A finished pod of a dead scheduler. */
export const COMPLETED = 'completed';
/** Namespace name of a watch over all namespaces. */
export const ALL_NAMESPACES = 'ALL_NAMESPACES';

/** The result of a pod. `null`: it succeeded, and the task's own state decides. */
export type ResultState = TaskState | typeof ADOPTED | typeof COMPLETED | null;

/** Why a pod failed, from its status; absent fields are not in the status. */
export interface FailureDetails {
  readonly podStatus?: string | undefined;
  readonly podReason?: string | undefined;
  readonly podMessage?: string | undefined;
  readonly containerState?: 'terminated' | 'waiting' | undefined;
  readonly containerReason?: string | undefined;
  readonly containerMessage?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly containerType?: 'init' | 'main' | undefined;
  readonly containerName?: string | undefined;
}

/** A task on its way to a pod. */
export interface KubernetesJob {
  readonly key: TaskKey;
  readonly command: ExecutorCommand;
  /** The pod override. */
  readonly kubeExecutorConfig: JsonRecord | undefined;
  readonly podTemplateFile: string | undefined;
  /** Overrides the configured image. */
  readonly kubeImage: string | undefined;
  /** Set once a creation was attempted, so that a retry does not create a second pod of another name. */
  readonly podName?: string | undefined;
}

/** A pod change that a watcher observed. */
export interface KubernetesWatch {
  readonly podName: string;
  readonly namespace: string;
  readonly state: ResultState;
  readonly annotations: IdentityAnnotations;
  readonly resourceVersion: string;
  readonly failureDetails: FailureDetails | undefined;
  /** Distinguishes pods of the same name. */
  readonly podUid?: string | undefined;
  /** The pod counts as failed but has not ended; left alone, it could still start beside its replacement. */
  readonly mayStillStart?: boolean | undefined;
  /** Whether the task's container ever ran; absent: unknown. */
  readonly began?: boolean | undefined;
}

/** The same with the task's key. */
export interface KubernetesResults {
  readonly key: TaskKey;
  readonly state: ResultState;
  readonly podName: string;
  readonly namespace: string;
  readonly resourceVersion: string;
  readonly failureDetails: FailureDetails | undefined;
  readonly podUid?: string | undefined;
  readonly mayStillStart?: boolean | undefined;
  /** Whether the task's container ever ran; absent: unknown. */
  readonly began?: boolean | undefined;
}

/** A task's launches so far; in memory until the task ends. */
export interface PodLaunchAttempt {
  readonly job: KubernetesJob;
  /** Number of additional launches because a pod died before the task began. */
  readonly attempts: number;
  /** Name of the pod whose death caused the latest launch. */
  readonly requeuedForPod: string | undefined;
}

/** The latest event of a task. */
export interface TaskEvent {
  readonly state: TaskState | typeof COMPLETED | null;
  /** The reason of a failure, the scheduler's id of a queued task, or nothing. */
  readonly info: string | undefined;
  /** The exception that made the task fail. */
  readonly cause?: unknown;
  readonly failureDetails?: FailureDetails | undefined;
}

/** A task in the task store. */
export interface TaskInstance {
  readonly key: TaskKey;
  /** Id of the executor that queued it; absent: none. */
  readonly queuedByJobId?: string | undefined;
  readonly queue?: string | undefined;
  /** As given to `executeAsync`. */
  readonly executorConfig?: unknown;
  /** Host name for messages. */
  readonly hostname?: string | undefined;
}

/** The store of the tasks, Airflow's database. Every method is optional; without a store the pods alone decide how tasks ended. */
export interface TaskStore {
  /** The task's own state; `null`: unknown task. When absent, a pod that succeeded means success. */
  state?(key: TaskKey): Promise<TaskState | null>;
  /** Whether the task still needs its pod; called right before a pod is created. */
  isCurrent?(job: KubernetesJob): Promise<boolean>;
  /** Lists queued tasks. */
  queued?(): Promise<readonly TaskInstance[]>;
  /** Resets a queued task so that it is scheduled again. */
  reschedule?(task: TaskInstance): Promise<void>;
  /** The run id of a task at a logical date, for pods that name no run. */
  runIdAt?(dagId: string, taskId: string, date: string): Promise<string | undefined>;
  /** Ids of live schedulers. When it rejects, no finished pods are adopted. */
  liveOwners?(): Promise<readonly string[]>;
}
