/** Callbacks: hooks that users run along a pod's life, as Airflow's `KubernetesPodOperatorCallback`. */
import type { PodRef } from '../core/pod/projection.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { TriggerEvent } from '../wire/triggers.ts';

/** How a hook is called. As in Airflow only `sync` is ever passed; any hook may be an async function all the same. */
export const ExecutionMode = { SYNC: 'sync', ASYNC: 'async' } as const;
export type ExecutionMode = (typeof ExecutionMode)[keyof typeof ExecutionMode];

/** Arguments of every hook but `progressCallback`. */
export interface CallbackSource {
  /** The cluster of the pod's connection. */
  readonly client: Cluster;
  /** The operator that calls. */
  readonly operator: unknown;
}
/** Arguments of hooks about a run. `context` is the step's: run, request, params, attempt in `state`. */
export interface CallbackArgs extends CallbackSource {
  readonly mode: ExecutionMode;
  readonly context: unknown;
}
/** Arguments of hooks about a pod. `pod`: the API's object as it is now; `undefined` once it is gone. */
export interface PodArgs extends CallbackArgs {
  readonly pod: Manifest | undefined;
}
/** Arguments of `progressCallback`: one line of a container's log. At least once per line: a worker that dies between the call and the store repeats it. */
export interface ProgressArgs {
  readonly line: string;
  readonly client: Cluster;
  readonly mode: ExecutionMode;
  readonly containerName: string;
  /** The node's time of the line. */
  readonly timestamp: Date;
  readonly pod: PodRef;
}

/** Arguments by hook. */
export interface CallbackArgsByHook {
  readonly onSyncClientCreation: CallbackSource;
  readonly onPodManifestCreated: CallbackArgs & { readonly podRequest: Record<string, unknown> };
  readonly onPodCreation: PodArgs;
  readonly onPodStarting: PodArgs;
  readonly onPodCompletion: PodArgs;
  readonly onPodTeardown: PodArgs;
  readonly onPodCleanup: PodArgs;
  readonly onOperatorResuming: PodArgs & { readonly event: TriggerEvent };
  readonly progressCallback: ProgressArgs;
}

type Hook<Name extends keyof CallbackArgsByHook> = (args: CallbackArgsByHook[Name]) => void | Promise<void>;

/** A class or object with any of the hooks. */
export type PodCallbacks = { readonly [Name in keyof CallbackArgsByHook]?: Hook<Name> };

const nothing = (): void => undefined;

/**
 * Base class of callbacks: extend it and override static hooks, or pass any object with some of them. A hook may be async. One that throws or takes
 * longer than 30 s is logged by the worker and changes nothing: unlike in Airflow it cannot fail the run.
 */
// eslint-disable-next-line @typescript-eslint/no-extraneous-class -- Airflow's callbacks are static
export class KubernetesPodOperatorCallback {
  /** When this operator first uses a cluster. */
  static onSyncClientCreation: Hook<'onSyncClientCreation'> = nothing;
  /** Before the pod is created; changes to `podRequest` count, except to its name, its namespace and reentry's own labels and annotations. */
  static onPodManifestCreated: Hook<'onPodManifestCreated'> = nothing;
  /** After the pod was created, or adopted by a repeated step. */
  static onPodCreation: Hook<'onPodCreation'> = nothing;
  /** Only for blocking runs (`deferrable: false`): after the pod left `Pending`, at the latest when it has ended. */
  static onPodStarting: Hook<'onPodStarting'> = nothing;
  /** After the base container ended and its log was stored; whatever the outcome. */
  static onPodCompletion: Hook<'onPodCompletion'> = nothing;
  /** After every `onPodCompletion`, before the pod is deleted. */
  static onPodTeardown: Hook<'onPodTeardown'> = nothing;
  /** After the clean-up of a run that succeeded; not of a failed or skipped one. */
  static onPodCleanup: Hook<'onPodCleanup'> = nothing;
  /** On re-entry, for every event but `running`. */
  static onOperatorResuming: Hook<'onOperatorResuming'> = nothing;
  /** For every line of the log. */
  static progressCallback: Hook<'progressCallback'> = nothing;
}

/** Hooks by name. */
const CALLBACK_HOOKS = [
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

/** Callbacks by the names that requests give in `callbacks`. */
export type CallbackRegistry = Readonly<Record<string, PodCallbacks>>;

/** The callbacks that a module exports, by export name; the default export by its own name where it has one. */
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
  // A module may also export only a formatter of log lines, which `logFormatter` of a request names.
  const fields = [...CALLBACK_HOOKS, 'logFormatter'].map((field): unknown => Reflect.get(value, field));
  return fields.some((field) => typeof field === 'function');
}
