/** What goes through an executor's queues, and the words its records use. @see spec executor §1.3 */
import type { JsonRecord } from '../core/json.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import type { IdentityAnnotations } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';

/** States of a task that an executor speaks of or reads. */
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

/** The pod left the watch without ending: another owner has it, or it is accounted for. */
export const ADOPTED = 'adopted';
/** A finished pod of an owner that is gone. */
export const COMPLETED = 'completed';
/** Namespace of a watch over all of them. */
export const ALL_NAMESPACES = 'ALL_NAMESPACES';

/** What a pod came to. `null`: it succeeded; what the task itself says counts. */
export type ResultState = TaskState | typeof ADOPTED | typeof COMPLETED | null;

/** Why a pod failed, as far as its status says; absent: not said. */
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
  /** Override pod. */
  readonly kubeExecutorConfig: JsonRecord | undefined;
  readonly podTemplateFile: string | undefined;
  /** Beats the configured image. */
  readonly kubeImage: string | undefined;
  /** Given once a create was tried: the same job never makes a second pod of another name. */
  readonly podName?: string | undefined;
}

/** What a watcher saw. */
export interface KubernetesWatch {
  readonly podName: string;
  readonly namespace: string;
  readonly state: ResultState;
  readonly annotations: IdentityAnnotations;
  readonly resourceVersion: string;
  readonly failureDetails: FailureDetails | undefined;
  /** Tells pods apart that had the same name. */
  readonly podUid?: string | undefined;
  /** It counts as failed but has not ended: left alone, it could still start beside its replacement. */
  readonly mayStillStart?: boolean | undefined;
  /** Whether the container of its task ever ran; absent: not known. */
  readonly began?: boolean | undefined;
}

/** The same, with the task it is about. */
export interface KubernetesResults {
  readonly key: TaskKey;
  readonly state: ResultState;
  readonly podName: string;
  readonly namespace: string;
  readonly resourceVersion: string;
  readonly failureDetails: FailureDetails | undefined;
  readonly podUid?: string | undefined;
  readonly mayStillStart?: boolean | undefined;
  /** Whether the container of its task ever ran; absent: not known. */
  readonly began?: boolean | undefined;
}

/** A task's launches so far; kept in memory until the task ends. */
export interface PodLaunchAttempt {
  readonly job: KubernetesJob;
  /** Launches again because a pod died before the task began. */
  readonly attempts: number;
  /** The pod whose death asked for the newest one. */
  readonly requeuedForPod: string | undefined;
}

/** What an executor last said about a task. */
export interface TaskEvent {
  readonly state: TaskState | typeof COMPLETED | null;
  /** A text that says why, the owner's id of a queued task, or nothing. */
  readonly info: string | undefined;
  /** What failed, where an exception did. */
  readonly cause?: unknown;
  readonly failureDetails?: FailureDetails | undefined;
}

/** A task as its keeper knows it. */
export interface TaskInstance {
  readonly key: TaskKey;
  /** The executor that queued it; absent: none did. */
  readonly queuedByJobId?: string | undefined;
  readonly queue?: string | undefined;
  /** As given to `executeAsync`. */
  readonly executorConfig?: unknown;
  /** Where it runs, for messages. */
  readonly hostname?: string | undefined;
}

/** The keeper of the tasks: the seed's database. */
export interface TaskStore {
  /** What the task says of itself; `null`: it is not known. Absent: a pod that succeeded means success. */
  state?(key: TaskKey): Promise<TaskState | null>;
  /** Whether the task still wants its pod; asked right before one is created. */
  isCurrent?(job: KubernetesJob): Promise<boolean>;
  /** Tasks that are queued. */
  queued?(): Promise<readonly TaskInstance[]>;
  /** Puts a queued task back to be scheduled again. */
  reschedule?(task: TaskInstance): Promise<void>;
  /** The run of a task by its date, for pods that name no run. */
  runIdAt?(dagId: string, taskId: string, date: string): Promise<string | undefined>;
  /** Owners that are alive, this one or not. Where it rejects, nobody's finished pods are taken over. */
  liveOwners?(): Promise<readonly string[]>;
}
