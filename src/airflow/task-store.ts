/** What an executor may ask of whoever keeps the tasks. Each is optional: without it, pods alone tell how tasks went. */
import type { KubernetesJob, TaskState } from './records.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';

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
