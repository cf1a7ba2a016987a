/** `BaseExecutor` of `airflow.executors.base_executor`: slots, a queue by priority, and the latest event of each task. */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { TaskEvent } from './records.ts';
import { keyText } from './task-key.ts';

/** A task that waits for a slot. */
export interface QueuedTask {
  readonly key: TaskKey;
  readonly command: ExecutorCommand;
  /** Higher first; equal ones in order of arrival. Default 1. */
  readonly priorityWeight?: number | undefined;
  readonly queue?: string | undefined;
  readonly executorConfig?: unknown;
}

/** The latest event of a task. */
export interface BufferedEvent extends TaskEvent {
  readonly key: TaskKey;
}

/** Slots, queue and events; a subclass runs the tasks. */
export abstract class BaseExecutor {
  /** Number of slots. */
  abstract readonly parallelism: number;
  /** Label of this executor's metrics. */
  abstract readonly queueName: string;
  /** Tasks that wait for a slot, by `keyText`. */
  readonly queuedTasks = new Map<string, QueuedTask>();
  /** Tasks that occupy a slot, by `keyText`. */
  readonly running = new Map<string, TaskKey>();
  readonly #events = new Map<string, BufferedEvent>();
  protected readonly log: Log | undefined;
  protected readonly meter: Meter | undefined;

  constructor(log: Log | undefined, meter: Meter | undefined) {
    this.log = log;
    this.meter = meter;
  }

  /** Starts a task. An invalid task becomes a failed event; it never throws. */
  abstract executeAsync(key: TaskKey, command: ExecutorCommand, queue?: string, executorConfig?: unknown): void;
  /** Applies results that have arrived and starts what can start. */
  abstract sync(): Promise<void>;

  /** Slots left after running and queued tasks. */
  get slotsAvailable(): number {
    return this.parallelism - this.slotsOccupied;
  }

  get slotsOccupied(): number {
    return this.running.size + this.queuedTasks.size;
  }

  /** Queues a task for a slot; does nothing when it is queued or running already. */
  queueTask(task: QueuedTask): void {
    const id = keyText(task.key);
    if (this.queuedTasks.has(id) || this.running.has(id)) return;
    this.queuedTasks.set(id, task);
  }

  /** Whether the task is queued or running here. */
  hasTask(key: TaskKey): boolean {
    const id = keyText(key);
    return this.queuedTasks.has(id) || this.running.has(id);
  }

  /** Fills the free slots, then syncs. Slots freed by this sync are used by the next heartbeat. */
  async heartbeat(): Promise<void> {
    const open = this.parallelism - this.running.size;
    const labels = { queue: this.queueName };
    this.meter?.gauge('executor_open_slots', Math.max(0, open), labels);
    this.meter?.gauge('executor_queued_tasks', this.queuedTasks.size, labels);
    this.meter?.gauge('executor_running_tasks', this.running.size, labels);
    this.triggerTasks(open);
    await this.sync();
  }

  /** Starts up to `openSlots` queued tasks, highest priority first. */
  triggerTasks(openSlots: number): void {
    const byPriority = [...this.queuedTasks.values()].sort(
      (one, other) => (other.priorityWeight ?? 1) - (one.priorityWeight ?? 1),
    );
    for (const { key, command, queue, executorConfig } of byPriority.slice(0, Math.max(0, openSlots))) {
      this.queuedTasks.delete(keyText(key));
      this.executeAsync(key, command, queue, executorConfig ?? {});
    }
  }

  /** Records a task's event and frees its slot, unless `keepsSlot`. */
  recordEvent(key: TaskKey, event: TaskEvent, keepsSlot = false): void {
    if (!keepsSlot) this.running.delete(keyText(key));
    this.#events.set(keyText(key), { key, ...event });
  }

  /** Records that the task failed, with the reason in `info`. */
  fail(key: TaskKey, info: string, cause?: unknown): void {
    this.recordEvent(key, { state: 'failed', info, cause });
  }

  success(key: TaskKey, info?: string): void {
    this.recordEvent(key, { state: 'success', info });
  }

  /** The latest event of a task, still in the buffer. */
  eventOf(key: TaskKey): BufferedEvent | undefined {
    return this.#events.get(keyText(key));
  }

  /** Removes a task's event from the buffer. */
  dropEvent(key: TaskKey): void {
    this.#events.delete(keyText(key));
  }

  /** Empties the buffer and returns the latest event of each task; with `dagIds`, only those of these dags. */
  getEventBuffer(dagIds?: readonly string[]): readonly BufferedEvent[] {
    const wanted = [...this.#events].filter(([, { key }]) => dagIds === undefined || dagIds.includes(key.dagId));
    for (const [id] of wanted) this.#events.delete(id);
    return wanted.map(([, event]) => event);
  }
}
