/**
 * The contract between the engine (`worker/`) and operators. The engine owns state, fence, order of writes, retries and events; an operator owns
 * what a run does: its pod, its logs, its result.
 */
import type { z } from 'zod';
import { diagnosisOf, type DiagnosisCode, type DiagnosisFacts } from '../core/run/diagnosis.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { StepFacts } from '../core/run/state-changes.ts';
import type { Log } from '../ports/ambient.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Availability, Cluster, Manifest } from '../ports/cluster.ts';
import type { LogStore, ResultStore } from '../ports/stores.ts';
import type { Diagnosis, Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunState } from '../wire/run-state.ts';
import type { Await, TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';

/** One step of a run. `state` is the state as it was when the step was taken. */
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
  /** Which connections and namespaces can be used now. Absent: taken to be all. */
  readonly availability?: Availability | undefined;
  /** This message is the first to carry the step out: no pod of the attempt can exist yet, so that its launch may be put off. Absent: false. */
  readonly isFresh?: boolean | undefined;
  readonly logs: LogStore;
  readonly results: ResultStore;
  readonly log: Log;
  /** To be called right before a side effect that cannot be repeated. Rejects with `FENCED` when another worker has taken the step; returns whether a cancel was requested. */
  checkOwner(): Promise<{ readonly cancelRequested: boolean }>;
}

/** A step without its state: enough to build a manifest. */
export type RenderContext<Params> = Omit<StepContext<Params>, 'checkOwner' | 'state'>;

/** The outcome of a step. The engine turns it into state, events and subscriptions. */
export type StepOutcome =
  /** Wait for the pod, or, without `pod`, until a time. */
  | { readonly kind: 'defer'; readonly pod?: PodRef; readonly await: Await; readonly facts?: StepFacts }
  /** Not possible now (quota, throttling, API down): repeat the same attempt at `notBefore`. `infrastructure: true` counts against the limit of infrastructure retries. */
  | {
      readonly kind: 'later';
      readonly notBefore: number;
      readonly why: Diagnosis;
      readonly infrastructure: boolean;
      /** Kept until the attempt's pod exists. */
      readonly memo?: RunState['memo'];
    }
  /** The attempt is over. The diagnosis decides whether there is another one (`core/run/retry.ts`). */
  | { readonly kind: 'over'; readonly outcome: Outcome; readonly facts?: StepFacts };

export type { StepFacts } from '../core/run/state-changes.ts';

/** The attempt failed, by a diagnosis of ours. */
export function failed(code: DiagnosisCode, facts?: DiagnosisFacts): StepOutcome {
  return { kind: 'over', outcome: { state: 'failed', diagnosis: diagnosisOf(code, facts) } };
}

/** A kind of run, registered by name in `runWorker({ operators })`. */
export interface Operator<Params> {
  readonly name: string;
  readonly paramsSchema: z.ZodType<Params>;
  /** Problems that a schema cannot find (template errors, refused fields); empty when the request can run. Pure. */
  check(
    request: RunRequest,
    params: Params,
    run?: RunKey,
  ): readonly { readonly path: string; readonly message: string }[];
  /** What the tenant's policy would refuse at launch, so that `submit` can report it at once; empty when it would not. */
  checkPolicy?(
    request: RunRequest,
    params: Params,
    run: RunKey,
  ): readonly { readonly path: string; readonly message: string }[];
  /** The final manifest, environment values redacted; for `render`. */
  render(context: RenderContext<Params>, attempt: number): Manifest;
  /** The same after the API server's admission, by a server-side dry run: nothing is created. @throws KubernetesError where it would be refused */
  dryRun?(context: RenderContext<Params>, attempt: number): Promise<Manifest>;
  /** Lane `start`: creates or adopts the pod. Safe to repeat. */
  execute(context: StepContext<Params>): Promise<StepOutcome>;
  /** Lane `resume`: acts on a trigger event, as `trigger_reentry` of Airflow's `KubernetesPodOperator`. Safe to repeat. */
  triggerReentry(context: StepContext<Params>, event: TriggerEvent): Promise<StepOutcome>;
  /**
   * The present attempt's pod, if there is one (a GET by its deterministic name; never creates). Called when an attempt is stopped whose owner died
   * between creating the pod and storing its name; otherwise a run could be reported cancelled while its pod lives.
   */
  find?(context: StepContext<Params>): Promise<PodRef | undefined>;
  /** Whether this run is blocking (`deferrable: false`): it occupies its worker's credit while its pod runs. Absent: never. */
  isBlocking?(params: Params, request: RunRequest): boolean;
  /** Whether readers of this run's log see a `[container]` prefix before each line. Absent: never. */
  namesContainers?(params: Params, request: RunRequest): boolean;
  /** Cancel, execution time-out: stores the tail of the log, then deletes the pod. `gone`: nothing is left to wait for. */
  stop(context: StepContext<Params>, pod: PodRef): Promise<'gone' | 'stopping'>;
  /**
   * Publishes the pod's log as it is written, from where the stored log ends; resolves when the pod ends or `signal` aborts. Stores nothing.
   * Absent: runs of this kind have no live log.
   */
  followLogs?(
    context: StepContext<Params>,
    publish: (chunk: LiveChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** Deletes or marks the pod by its policy, after the attempt's outcome is stored (completed event published, or another attempt queued). Safe to repeat. */
  cleanUp(context: StepContext<Params>, outcome: Outcome, pod: PodRef): Promise<void>;
}
