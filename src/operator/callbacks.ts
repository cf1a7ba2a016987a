/** What users may have done along a pod's life: the seed's callback class, and who calls it. @see spec pod-operator §4.3 */
import { firstValueFrom, from, timeout } from 'rxjs';
import { ANNOTATIONS, LABELS } from '../core/pod/labels.ts';
import { recordIn } from '../core/json.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, LogLine, Manifest } from '../ports/cluster.ts';
import type { TriggerEvent } from '../wire/triggers.ts';

/** How a callback is called. As in the seed only `sync` is ever sent; every hook may be an async function all the same. */
export const ExecutionMode = { SYNC: 'sync', ASYNC: 'async' } as const;
export type ExecutionMode = (typeof ExecutionMode)[keyof typeof ExecutionMode];

/** What every hook is told of who calls it. */
export interface CallbackSurroundings {
  /** The cluster of the pod's connection. */
  readonly client: Cluster;
  /** The operator that does the work. */
  readonly operator: unknown;
}
/** What a hook is told of the run; `context` is the step's (run, request, params, attempt in `state`). */
export interface CallbackArgs extends CallbackSurroundings {
  readonly mode: ExecutionMode;
  readonly context: unknown;
}
/** A hook about a pod. `pod`: the API's object as it is now; absent where it is gone. */
export interface PodArgs extends CallbackArgs {
  readonly pod: Manifest | undefined;
}
/** One line of a container's log. At least once each: a worker that dies between the call and the store repeats it. */
export interface ProgressArgs {
  readonly line: string;
  readonly client: Cluster;
  readonly mode: ExecutionMode;
  readonly containerName: string;
  /** The node's time of the line. */
  readonly timestamp: Date;
  readonly pod: PodRef;
}

/** What each hook is told. */
export interface CallbackArgsByHook {
  readonly onSyncClientCreation: CallbackSurroundings;
  readonly onPodManifestCreated: CallbackArgs & { readonly podRequest: Record<string, unknown> };
  readonly onPodCreation: PodArgs;
  readonly onPodStarting: PodArgs;
  readonly onPodCompletion: PodArgs;
  readonly onPodTeardown: PodArgs;
  readonly onPodCleanup: PodArgs;
  readonly onOperatorResuming: PodArgs & { readonly event: TriggerEvent };
  readonly progressCallback: ProgressArgs;
}

type Hook<Name extends keyof CallbackArgsByHook> = (scene: CallbackArgsByHook[Name]) => void | Promise<void>;

/** A class or object with any of the hooks. */
export type PodCallbacks = { readonly [Name in keyof CallbackArgsByHook]?: Hook<Name> };

const nothing = (): void => undefined;

/**
 * The seed's base class: extend it and override static hooks, or pass any object with some of them. A hook may be async. One that
 * throws, or takes longer than 30 s, is reported in the worker's log and changes nothing: unlike the seed's it cannot fail the run.
 */
// eslint-disable-next-line @typescript-eslint/no-extraneous-class -- the seed's callbacks are static
export class KubernetesPodOperatorCallback {
  /** When a cluster's client is first used by this operator. */
  static onSyncClientCreation: Hook<'onSyncClientCreation'> = nothing;
  /** The manifest before it is sent; changes made to `podRequest` count, except of its name and of reentry's own labels. */
  static onPodManifestCreated: Hook<'onPodManifestCreated'> = nothing;
  /** After the pod was made or met again. */
  static onPodCreation: Hook<'onPodCreation'> = nothing;
  /** After the pod left Pending; of runs that keep their slot, and at the latest when the pod has ended. */
  static onPodStarting: Hook<'onPodStarting'> = nothing;
  /** After the base container ended and its log was stored; for every final event. */
  static onPodCompletion: Hook<'onPodCompletion'> = nothing;
  /** Right after all `onPodCompletion`, before the pod is deleted. */
  static onPodTeardown: Hook<'onPodTeardown'> = nothing;
  /** After the clean-up of a run that succeeded (not of a failed or skipped one). */
  static onPodCleanup: Hook<'onPodCleanup'> = nothing;
  /** On re-entry, for every event but `running`. */
  static onOperatorResuming: Hook<'onOperatorResuming'> = nothing;
  /** For every line of the log. */
  static progressCallback: Hook<'progressCallback'> = nothing;
}

/** Hooks by name. */
export const CALLBACK_HOOKS = [
  'onSyncClientCreation',
  'onPodManifestCreated',
  'onPodCreation',
  'onPodStarting',
  'onPodCompletion',
  'onPodTeardown',
  'onPodCleanup',
  'onOperatorResuming',
  'progressCallback',
] as const satisfies readonly (keyof CallbackArgsByHook)[];

/** Longest a hook may take, in milliseconds. */
const CALLBACK_LIMIT_MS = 30_000;

/** Callbacks by the names that requests use. */
export type CallbackRegistry = Readonly<Record<string, PodCallbacks>>;

/** The callbacks of one run, called in their order, each for itself. */
export class RunCallbacks {
  readonly #callbacks: readonly PodCallbacks[];
  readonly #log: Log;

  constructor(callbacks: readonly PodCallbacks[], log: Log) {
    this.#callbacks = callbacks;
    this.#log = log;
  }

  /** Whether there is anybody to call: without, no pod is read for it. */
  get isEmpty(): boolean {
    return this.#callbacks.length === 0;
  }

  /** Calls a hook of every callback; reports what throws. */
  async fire<Name extends keyof CallbackArgsByHook>(hook: Name, scene: CallbackArgsByHook[Name]): Promise<void> {
    for (const callbacks of this.#callbacks) {
      try {
        await limited(call(callbacks, hook, scene));
      } catch (error) {
        this.#log.error({ callback: hook, err: error }, 'a callback failed; the run goes on');
      }
    }
  }

  /** The manifest as the callbacks leave it. What tells whose pod it is stays as it was. */
  async manifestCreated(manifest: Manifest, scene: CallbackArgs): Promise<Manifest> {
    if (this.isEmpty) return manifest;
    const podRequest: Record<string, unknown> = structuredClone({ ...manifest });
    await this.fire('onPodManifestCreated', { ...scene, podRequest });
    return withIdentityOf(manifest, podRequest);
  }

  /** What is called for each line that is stored; absent where nobody asks. */
  progressOf(client: Cluster, pod: PodRef, containerName: string): ((line: LogLine) => Promise<void>) | undefined {
    if (!this.#callbacks.some(({ progressCallback }) => progressCallback !== undefined && progressCallback !== nothing))
      return undefined;
    return async ({ at, text }) => {
      const timestamp = new Date(Number(at.nanos / 1_000_000n));
      const scene = { line: text, client, mode: ExecutionMode.SYNC, containerName, timestamp, pod };
      await this.fire('progressCallback', scene);
    };
  }
}

async function call<Name extends keyof CallbackArgsByHook>(
  callbacks: PodCallbacks,
  hook: Name,
  scene: CallbackArgsByHook[Name],
): Promise<void> {
  await callbacks[hook]?.(scene);
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

/** The callbacks among what a module exports, by the names of its exports; `default` under its own name where it has one. */
export function callbacksIn(exported: Readonly<Record<string, unknown>>): CallbackRegistry {
  const found: Record<string, PodCallbacks> = {};
  for (const [name, value] of Object.entries(exported)) {
    if (!isCallbacks(value)) continue;
    const own = name === 'default' && 'name' in value && typeof value.name === 'string' ? value.name : '';
    found[own === '' ? name : own] = value;
  }
  return found;
}

function isCallbacks(value: unknown): value is PodCallbacks {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  // Beside hooks there may be a formatter of log lines, which `logFormatter` of a run names.
  const fields = [...CALLBACK_HOOKS, 'logFormatter'].map((field): unknown => Reflect.get(value, field));
  return fields.some((field) => typeof field === 'function');
}
