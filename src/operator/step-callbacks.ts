/** Calls the callbacks of a step. */
import { firstValueFrom, from, timeout } from 'rxjs';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { ANNOTATIONS, LABELS } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, LogLine, Manifest } from '../ports/cluster.ts';
import { type TriggerEvent, triggerEventSchema } from '../wire/triggers.ts';
import {
  type CallbackArgs,
  type CallbackArgsByHook,
  ExecutionMode,
  KubernetesPodOperatorCallback,
  type PodCallbacks,
} from './callbacks.ts';

/** Time limit of one hook, in milliseconds. */
const CALLBACK_LIMIT_MS = 30_000;

/** The callbacks of one run, called in order; an error of one does not affect the others. */
export class RunCallbacks {
  readonly #callbacks: readonly PodCallbacks[];
  readonly #log: Log;

  constructor(callbacks: readonly PodCallbacks[], log: Log) {
    this.#callbacks = callbacks;
    this.#log = log;
  }

  /** Calls one hook of every callback; logs errors. */
  async fire<Name extends keyof CallbackArgsByHook>(hook: Name, args: CallbackArgsByHook[Name]): Promise<void> {
    for (const callbacks of this.#callbacks) {
      try {
        await limited(call(callbacks, hook, args));
      } catch (error) {
        this.#log.error({ callback: hook, err: error }, 'a callback failed; the run goes on');
      }
    }
  }

  /** The manifest as `onPodManifestCreated` leaves it, but with its name, namespace and identifying labels and annotations unchanged. */
  async manifestCreated(manifest: Manifest, args: CallbackArgs): Promise<Manifest> {
    if (this.#callbacks.length === 0) return manifest;
    const podRequest: Record<string, unknown> = structuredClone({ ...manifest });
    await this.fire('onPodManifestCreated', { ...args, podRequest });
    return withIdentityOf(manifest, podRequest);
  }

  /** Calls `progressCallback` with a stored line; `undefined` where no callback has that hook. */
  progressOf(client: Cluster, pod: PodRef, containerName: string): ((line: LogLine) => Promise<void>) | undefined {
    const { progressCallback: inherited } = KubernetesPodOperatorCallback;
    if (!this.#callbacks.some(({ progressCallback = inherited }) => progressCallback !== inherited)) return undefined;
    return async ({ at, text }) => {
      const timestamp = new Date(Number(at.nanos / 1_000_000n));
      const args = { line: text, client, mode: ExecutionMode.SYNC, containerName, timestamp, pod };
      await this.fire('progressCallback', args);
    };
  }
}

async function call<Name extends keyof CallbackArgsByHook>(
  callbacks: PodCallbacks,
  hook: Name,
  args: CallbackArgsByHook[Name],
): Promise<void> {
  await callbacks[hook]?.(args);
}

async function limited(work: Promise<void>): Promise<void> {
  await firstValueFrom(from(work).pipe(timeout({ first: CALLBACK_LIMIT_MS })), { defaultValue: undefined });
}

function withIdentityOf(sent: Manifest, changed: Manifest): Manifest {
  const before = recordIn(sent, 'metadata');
  const after = recordIn(changed, 'metadata');
  const ours = (field: 'labels' | 'annotations', keys: readonly string[]) => ({
    ...recordIn(after, field),
    ...Object.fromEntries(
      keys.flatMap((key) => (key in recordIn(before, field) ? [[key, recordIn(before, field)[key]]] : [])),
    ),
  });
  return {
    ...changed,
    metadata: {
      ...after,
      name: before['name'],
      namespace: before['namespace'],
      labels: ours('labels', Object.values(LABELS)),
      annotations: ours('annotations', Object.values(ANNOTATIONS)),
    },
  };
}

/** Hooks that need nothing but a pod. */
type PodHook = 'onPodCreation' | 'onPodStarting' | 'onPodCompletion' | 'onPodTeardown';

/** What a step's callbacks are called with. */
export interface StepCallbackOptions extends CallbackArgs {
  readonly callbacks: readonly PodCallbacks[];
  /** What the run wants its events to carry. */
  readonly triggerKwargs: JsonRecord;
  readonly log: Log;
}

/** The callbacks of one step on one cluster. A run that names none has no such object, so that no pod is read for it. */
export class StepCallbacks {
  readonly calls: RunCallbacks;
  readonly #args: CallbackArgs;
  readonly #kwargs: JsonRecord;

  constructor({ callbacks, triggerKwargs, log, ...args }: StepCallbackOptions) {
    this.calls = new RunCallbacks(callbacks, log);
    this.#kwargs = triggerKwargs;
    this.#args = args;
  }

  /** The operator uses this cluster for the first time. */
  async clientCreated(): Promise<void> {
    const { client, operator } = this.#args;
    await this.calls.fire('onSyncClientCreation', { client, operator });
  }

  /** The manifest as `onPodManifestCreated` leaves it. */
  async manifestCreated(manifest: Manifest): Promise<Manifest> {
    return await this.calls.manifestCreated(manifest, this.#args);
  }

  /** Calls hooks about a pod one after another, each of all callbacks, with one read of the pod. */
  async pod(ref: PodRef, ...hooks: readonly PodHook[]): Promise<void> {
    const pod = await this.#read(ref);
    for (const hook of hooks) await this.calls.fire(hook, { ...this.#args, pod });
  }

  /** Reads the pod before it may be deleted, and returns what calls `onPodCleanup` with it afterwards. */
  async cleanedUp(ref: PodRef): Promise<() => Promise<void>> {
    const pod = await this.#read(ref);
    return () => this.calls.fire('onPodCleanup', { ...this.#args, pod });
  }

  /** The run re-enters with `event`, which carries its `triggerKwargs`. */
  async resuming(ref: PodRef | undefined, event: TriggerEvent): Promise<void> {
    if (event.kind === 'running') return;
    const pod = ref === undefined ? undefined : await this.#read(ref);
    const carrying = withKwargs(event, this.#kwargs, triggerEventSchema.shape);
    await this.calls.fire('onOperatorResuming', { ...this.#args, pod, event: carrying });
  }

  /** The API's object; a read for callbacks never fails the step. */
  async #read({ namespace, name, uid }: PodRef): Promise<Manifest | undefined> {
    try {
      const found = await this.#args.client.getPod(namespace, name);
      return textIn(found?.['metadata'], 'uid') === uid ? found : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Airflow's `trigger_kwargs`: `event` with the run's own values, except those named like one of the event's `fields`, present or not. */
export function withKwargs<Event extends object>(
  event: Event,
  kwargs: JsonRecord,
  fields: Readonly<Record<string, unknown>>,
): Event {
  const carried = Object.fromEntries(Object.entries(kwargs).filter(([name]) => !Object.hasOwn(fields, name)));
  return { ...carried, ...event };
}
