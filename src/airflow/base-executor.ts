/** What every executor does: a queue by priority, slots, and the newest event of each task. @see spec executor §1.4 */
import type { Log, Meter } from '../ports/ambient.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import type { TaskEvent } from './records.ts';
import { keyText } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';

/** A task that waits for a slot. */
export interface QueuedTask {
  readonly key: TaskKey;
  readonly command: ExecutorCommand;
  /** Higher goes first; equal ones in the order they came. Default 1. */
  readonly priorityWeight?: number | undefined;
  readonly queue?: string | undefined;
  readonly executorConfig?: unknown;
}

/** The newest event of a task. */
export interface BufferedEvent extends TaskEvent {
  readonly key: TaskKey;
}

/** Slots, queue and events. The work itself is a subclass's. */
export abstract class BaseExecutor {
  /** Slots. */
  abstract readonly parallelism: number;
  /** Named in metrics. */
  abstract readonly queueName: string;
  /** By the text of their keys. */
  readonly queuedTasks = new Map<string, QueuedTask>();
  /** Tasks that hold a slot. */
  readonly running = new Map<string, TaskKey>();
  readonly #events = new Map<string, BufferedEvent>();
  protected readonly log: Log | undefined;
  protected readonly meter: Meter | undefined;

  constructor(log: Log | undefined, meter: Meter | undefined) {
    this.log = log;
    this.meter = meter;
  }

  /** Begins a task. What is wrong with it becomes its event, never an exception. */
  abstract executeAsync(key: TaskKey, command: ExecutorCommand, queue?: string, executorConfig?: unknown): void;
  /** Takes in what happened, and creates pods. */
  abstract sync(): Promise<void>;

  /** Slots that are neither running nor spoken for. */
  get slotsAvailable(): number {
    return this.parallelism - this.slotsOccupied;
  }

  get slotsOccupied(): number {
    return this.running.size + this.queuedTasks.size;
  }

  /** Waits for a slot. A task that is there already stays as it is; one that runs is not queued. */
  queueTask(task: QueuedTask): void {
    const id = keyText(task.key);
    if (this.queuedTasks.has(id) || this.running.has(id)) return;
    this.queuedTasks.set(id, task);
  }

  /** Whether a task is queued or running here. */
  hasTask(key: TaskKey): boolean {
    const id = keyText(key);
    return this.queuedTasks.has(id) || this.running.has(id);
  }

  /** Fills the free slots, then takes in what happened: slots that come free are used the next time. */
  async heartbeat(): Promise<void> {
    const open = this.parallelism - this.running.size;
    const labels = { queue: this.queueName };
    this.meter?.gauge('executor_open_slots', Math.max(0, open), labels);
    this.meter?.gauge('executor_queued_tasks', this.queuedTasks.size, labels);
    this.meter?.gauge('executor_running_tasks', this.running.size, labels);
    this.triggerTasks(open);
    await this.sync();
  }

  /** Begins up to `openSlots` queued tasks, the most important first. */
  triggerTasks(openSlots: number): void {
    const byPriority = [...this.queuedTasks.values()].sort(
      (one, other) => (other.priorityWeight ?? 1) - (one.priorityWeight ?? 1),
    );
    for (const { key, command, queue, executorConfig } of byPriority.slice(0, Math.max(0, openSlots))) {
      this.queuedTasks.delete(keyText(key));
      this.executeAsync(key, command, queue, executorConfig ?? {});
    }
  }

  /** Writes a task's event; it loses its slot unless told otherwise. */
  recordEvent(key: TaskKey, event: TaskEvent, keepsSlot = false): void {
    if (!keepsSlot) this.running.delete(keyText(key));
    this.#events.set(keyText(key), { key, ...event });
  }

  /** The task failed, for a reason that is said. */
  fail(key: TaskKey, info: string, cause?: unknown): void {
    this.recordEvent(key, { state: 'failed', info, cause });
  }

  success(key: TaskKey, info?: string): void {
    this.recordEvent(key, { state: 'success', info });
  }

  /** The event of a task as it would be given out. */
  eventOf(key: TaskKey): BufferedEvent | undefined {
    return this.#events.get(keyText(key));
  }

  /** Forgets an event. */
  dropEvent(key: TaskKey): void {
    this.#events.delete(keyText(key));
  }

  /** Takes out the newest event of each task; only those of the given dags, where some are given. */
  getEventBuffer(dagIds?: readonly string[]): readonly BufferedEvent[] {
    const wanted = [...this.#events].filter(([, { key }]) => dagIds === undefined || dagIds.includes(key.dagId));
    for (const [id] of wanted) this.#events.delete(id);
    return wanted.map(([, event]) => event);
  }
}
