/**
 * What the engine (`worker/`) asks of an operator, and what it gets back. The engine owns state, fence, order of writes,
 * retries and events; an operator owns what a run *does*: its pod, its logs, its result.
 */
import type { z } from 'zod';
import type { PodRef } from '../core/pod/projection.ts';
import type { Learnt } from '../core/run/state-changes.ts';
import type { Log } from '../ports/ambient.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { LogStore, ResultStore } from '../ports/stores.ts';
import type { Diagnosis, Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunState } from '../wire/run-state.ts';
import type { Await, TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';

/** What an operator gets for one step. `state` is the state as it was when the step was taken. */
export interface StepContext<Params> {
  readonly run: RunKey;
  readonly installation: string;
  readonly queue: string;
  readonly request: RunRequest;
  readonly params: Params;
  readonly state: RunState;
  /** Broker time, epoch milliseconds. */
  now(): number;
  /** A named connection's cluster. @throws ReentryError CONFIG_INVALID for an unknown name. */
  cluster(connection: string | undefined): Cluster;
  /** Namespaces the installation watches; `undefined`: all. A pod elsewhere is refused. */
  readonly namespaces: readonly string[] | undefined;
  readonly logs: LogStore;
  readonly results: ResultStore;
  readonly log: Log;
  /** Right before a side effect that cannot be repeated: rejects with `FENCED` when the step is no longer ours, answers whether a cancel was asked for. */
  checkOwner(): Promise<{ readonly cancelRequested: boolean }>;
}

/** What a step came to. The engine turns it into state, events and subscriptions. */
export type StepOutcome =
  /** Wait for the pod (again), or, without `pod`, for a time. */
  | { readonly kind: 'defer'; readonly pod?: PodRef; readonly await: Await; readonly facts?: StepFacts }
  /** Not possible now (quota, throttling, API down): try the same attempt again at `notBefore`. `infrastructure: true` counts against the infrastructure cap. */
  | {
      readonly kind: 'later';
      readonly notBefore: number;
      readonly why: Diagnosis;
      readonly infrastructure: boolean;
      /** Kept until the attempt's pod is there. */
      readonly memo?: RunState['memo'];
    }
  /** The attempt is over. The engine decides about another attempt by the diagnosis (`core/run/retry.ts`). */
  | { readonly kind: 'over'; readonly outcome: Outcome; readonly facts?: StepFacts };

/** What a step learnt, kept in state. */
export type StepFacts = Learnt;

/** A kind of run. Registered by name in `runWorker({ operators })`; the seed's is `pod`. */
export interface Operator<Params> {
  readonly name: string;
  readonly paramsSchema: z.ZodType<Params>;
  /** Problems a schema cannot say (template errors, refused fields); empty when the request can run. Pure. */
  check(
    request: RunRequest,
    params: Params,
    run?: RunKey,
  ): readonly { readonly path: string; readonly message: string }[];
  /** What the tenant's policy would refuse at launch, so that `submit` can say it at once; empty when it would not. */
  admit?(
    request: RunRequest,
    params: Params,
    run: RunKey,
  ): readonly { readonly path: string; readonly message: string }[];
  /** The final manifest, env values redacted; for `render`. */
  render(context: Omit<StepContext<Params>, 'checkOwner' | 'state'>, attempt: number): Manifest;
  /** The same as the API server would admit it; nothing is created. @throws KubernetesError where it would be refused */
  dryRun?(context: Omit<StepContext<Params>, 'checkOwner' | 'state'>, attempt: number): Promise<Manifest>;
  /** Lane `start`: creates or adopts the pod. Safe to repeat. */
  execute(context: StepContext<Params>): Promise<StepOutcome>;
  /** Lane `resume`: the seed's `trigger_reentry`. Safe to repeat. */
  triggerReentry(context: StepContext<Params>, event: TriggerEvent): Promise<StepOutcome>;
  /**
   * The present attempt's pod, if there is one (GET by its deterministic name; never creates). Asked when an attempt is stopped
   * whose owner died between the create and the write that names the pod; without it, `cancelled` could be said of a living pod.
   */
  find?(context: StepContext<Params>): Promise<PodRef | undefined>;
  /** Whether this run keeps its worker's slot (`deferrable: false`). Absent: never. @see spec protocol §8 */
  keepsSlot?(params: Params, request: RunRequest): boolean;
  /** Whether people who read this run's log are to be shown whose each line is. Absent: never. */
  namesContainers?(params: Params, request: RunRequest): boolean;
  /** Cancel, execution time-out, on-kill: tail of the log, then DELETE. `gone`: nothing is left to wait for. */
  stop(context: StepContext<Params>, pod: PodRef): Promise<'gone' | 'stopping'>;
  /**
   * Sends what the run's pod writes as it writes it, from where its stored log ends; resolves with the end of the pod, or when `signal` says so.
   * Stores nothing. Absent: there is nothing live to see of such runs.
   */
  followLogs?(
    context: StepContext<Params>,
    publish: (chunk: LiveChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** After the attempt is decided (completed event published, or another attempt queued): pod deleted or patched by policy. Safe to repeat. */
  cleanUp(context: StepContext<Params>, outcome: Outcome, pod: PodRef): Promise<void>;
}
