/** Operators defined in code: a run that does something around its pod, several things after it, or only waits. */
import { z } from 'zod';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { type Problem, ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { LaunchOptions } from './launch.ts';
import { namesContainers } from './logs/step.ts';
import { failed, type Operator, type RenderContext, type StepContext, type StepOutcome } from './operator.ts';
import { PodManifests, type PodManifestOptions } from './pod-manifests.ts';
import { type PodParams, type PodParamsInput, podParamsSchema } from './pod-params.ts';
import { PodRunOperator } from './pod-run-operator.ts';
import type { PodRun } from './pod-step.ts';
import { storeResult } from './result.ts';

type Json = z.infer<ReturnType<typeof z.json>>;
/** Arguments of the method that a deferral names; kept in the run's state, so at most 1 KiB of JSON. */
export type Kwargs = Readonly<Record<string, Json>>;

const MAX_KWARGS_BYTES = 1_024;
const memoSchema = z.looseObject({
  method: z.string().optional(),
  kwargs: z.record(z.string(), z.json()).optional(),
});

/** How a run goes on after a deferral: a method of the definition (default `triggerReentry`) and its arguments. */
export interface Deferral {
  readonly method?: string;
  readonly kwargs?: Kwargs;
}

/** One step of a run, for an operator's own code. A step may be repeated from its beginning: a worker may die at any time. */
export interface Task<Params> {
  readonly run: RunKey;
  readonly params: Params;
  readonly request: RunRequest;
  /** From 1. */
  readonly attempt: number;
  /** `kwargs` of the deferral that this step continues; empty in the first step. */
  readonly kwargs: Kwargs;
  readonly log: Log;
  /** Broker time, epoch milliseconds. */
  now(): number;
  /** Launches the run's pod, or adopts it, and waits for its end. Once per attempt. */
  launchPod(next?: Deferral): Promise<StepOutcome>;
  /** Acts on an event of the pod as the `pod` operator does: stores the log, takes the result, and ends the run or waits again. */
  finishPod(event: TriggerEvent): Promise<StepOutcome>;
  /** Waits until `at` (epoch milliseconds or a date) by a timer trigger: occupies nothing meanwhile. */
  waitUntil(at: number | Date, next?: Deferral): StepOutcome;
  /** Waits `seconds` from now. */
  waitFor(seconds: number, next?: Deferral): StepOutcome;
  /** Ends the run as succeeded, with a JSON result. */
  succeed(result?: Json): Promise<StepOutcome>;
  /** Ends this attempt as failed (`OPERATOR_FAILED`); spends a retry. */
  fail(message: string): StepOutcome;
  /** Ends the run as skipped. */
  skip(message: string): StepOutcome;
}

type Method<Params> = (task: Task<Params>, event: TriggerEvent) => StepOutcome | Promise<StepOutcome>;

/** Definition of an operator. With `pod` alone it is the `pod` operator with parameters of its own. */
export interface OperatorDefinition<Params> {
  /** Value of `operator` in requests. */
  readonly name: string;
  /** Schema of `params` of a request; should be strict, so that a misspelt field is refused with its path. */
  readonly params: z.ZodType<Params>;
  /** The run's pod. Pure: called again by any worker, also to stop the pod and to clean up. Absent: runs of this operator have no pod. */
  readonly pod?: (params: Params, request: RunRequest) => PodParamsInput;
  /** Problems that a schema cannot find. Pure: called when the request is accepted and again at launch. */
  readonly check?: (request: RunRequest, params: Params) => readonly Problem[];
  /** The first step. Default: `launchPod`. */
  readonly execute?: (task: Task<Params>) => StepOutcome | Promise<StepOutcome>;
  /** Methods that deferrals may name. Default of `triggerReentry`: `finishPod`. */
  readonly methods?: Readonly<Record<string, Method<Params>>>;
}

/** An operator before it is bound to the configuration of a worker. */
export interface DefinedOperator {
  readonly name: string;
  /** Binds it to a worker's configuration: pod security, templates, policy. */
  with(options: PodManifestOptions): Operator<unknown>;
}

/** Defines an operator. @throws ReentryError CONFIG_INVALID for a name that no request can give, and for one with neither `pod` nor `execute` */
export function defineOperator<Params>(definition: OperatorDefinition<Params>): DefinedOperator {
  const { name, pod, execute } = definition;
  if (!/^[A-Za-z][A-Za-z0-9_-]{0,62}$/.test(name))
    throw invalid(`an operator's name must be a word of letters, digits, - and _, not ${JSON.stringify(name)}`);
  if (pod === undefined && execute === undefined) throw invalid(`operator ${name} has neither a pod nor execute`);
  return { name, with: (options) => new PodOperator(definition, options) };
}

/** The `pod` operator, as Airflow's `KubernetesPodOperator`: a request's parameters are the pod's. */
export const podOperator = defineOperator({ name: 'pod', params: podParamsSchema, pod: (params) => params });

/** Whether `value` was made by `defineOperator`; for modules that export operators. */
export function isDefinedOperator(value: unknown): value is DefinedOperator {
  return (
    typeof value === 'object' &&
    value !== null &&
    'with' in value &&
    'name' in value &&
    typeof value.with === 'function'
  );
}

function invalid(message: string): ReentryError {
  return new ReentryError('CONFIG_INVALID', message, { transient: false });
}

/** A defined operator bound to a worker's configuration. */
class PodOperator<Params> extends PodRunOperator<Params> {
  readonly name: string;
  readonly paramsSchema: z.ZodType<Params>;
  readonly #definition: OperatorDefinition<Params>;
  readonly #manifests: PodManifests;

  constructor(definition: OperatorDefinition<Params>, options: PodManifestOptions) {
    super(options);
    this.name = definition.name;
    this.paramsSchema = definition.params;
    this.#definition = definition;
    this.#manifests = new PodManifests(options);
  }

  check(request: RunRequest, params: Params, run?: RunKey): readonly Problem[] {
    const own = this.#definition.check?.(request, params) ?? [];
    const pod = this.#definition.pod?.(params, request);
    if (pod === undefined) return own;
    const parsed = podParamsSchema.safeParse(pod);
    if (!parsed.success)
      return [...own, ...parsed.error.issues.map(({ path, message }) => ({ path: `pod.${path.join('.')}`, message }))];
    return [...own, ...this.#manifests.check(request, parsed.data, run)];
  }

  checkPolicy(request: RunRequest, params: Params, run: RunKey): readonly Problem[] {
    const pod = this.#podParams(request, params);
    return pod === undefined ? [] : this.#manifests.checkPolicy(request, pod, run);
  }

  isBlocking(params: Params, request: RunRequest): boolean {
    // Only a definition that adds no steps of its own: those are separate messages.
    const { execute, methods } = this.#definition;
    return execute === undefined && methods === undefined && this.#podParams(request, params)?.deferrable === false;
  }

  namesContainers(params: Params, request: RunRequest): boolean {
    const pod = this.#podParams(request, params);
    return pod !== undefined && namesContainers(pod);
  }

  override async execute(context: StepContext<Params>): Promise<StepOutcome> {
    if (this.#definition.execute === undefined) return await super.execute(context);
    return await this.#definition.execute(this.#task(context, {}));
  }

  override async triggerReentry(context: StepContext<Params>, event: TriggerEvent): Promise<StepOutcome> {
    // The logging interval concerns the pod alone, whatever follows it.
    if (event.kind === 'running') return await super.triggerReentry(context, event);
    const { method = 'triggerReentry', kwargs = {} } = memoSchema.parse(context.state.memo ?? {});
    const { methods = {}, pod } = this.#definition;
    const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (found !== undefined) return await found(this.#task(context, kwargs), event);
    if (method === 'triggerReentry' && pod !== undefined) return await super.triggerReentry(context, event);
    throw new ReentryError('INTERNAL', `operator ${this.name} has no method ${method}`, { transient: false });
  }

  override async find(context: StepContext<Params>): Promise<PodRef | undefined> {
    return this.#definition.pod === undefined ? undefined : await super.find(context);
  }

  override async followLogs(
    context: StepContext<Params>,
    publish: (chunk: LiveChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#definition.pod !== undefined) await super.followLogs(context, publish, signal);
  }

  protected podRun({ run, request, params }: RenderContext<Params>, attempt: number): PodRun {
    const { pod } = this.#definition;
    if (pod === undefined)
      throw new ReentryError('INVALID_REQUEST', `operator ${this.name} makes no pod`, { transient: false });
    const given = podParamsSchema.parse(pod(params, request));
    const { params: rendered = given, problems } = this.#manifests.rendered(run, request, given, attempt);
    return { params: rendered, problems, ...this.#manifests.userCode(rendered) };
  }

  protected manifest(context: RenderContext<Params>, params: PodParams, attempt: number, cluster: Cluster): Manifest {
    return this.#manifests.manifest(context, params, attempt, cluster);
  }

  protected launchOptions(): LaunchOptions {
    return { reattaches: true };
  }

  /** Before templates are rendered; `undefined` where there is no pod, or an invalid one. */
  #podParams(request: RunRequest, params: Params): PodParams | undefined {
    return podParamsSchema.safeParse(this.#definition.pod?.(params, request)).data;
  }

  #task(context: StepContext<Params>, kwargs: Kwargs): Task<Params> {
    const { run, params, request, state, log } = context;
    const over = (outcome: Outcome): StepOutcome => ({ kind: 'over', outcome });
    const waitUntil = (at: number | Date, next?: Deferral): StepOutcome => ({
      kind: 'defer',
      await: { notBefore: Math.ceil(typeof at === 'number' ? at : at.getTime()) },
      facts: { memo: memoOf(next) },
    });
    return {
      ...{ run, params, request, kwargs, log },
      attempt: state.attempt,
      now: () => context.now(),
      launchPod: async (next) => {
        const outcome = await super.execute(context);
        if (outcome.kind !== 'defer' || next === undefined) return outcome;
        return { ...outcome, facts: { ...outcome.facts, memo: { ...outcome.facts?.memo, ...memoOf(next) } } };
      },
      finishPod: (event) => super.triggerReentry(context, event),
      waitUntil,
      waitFor: (seconds, next) => waitUntil(context.now() + seconds * 1_000, next),
      succeed: async (result) =>
        over({ state: 'succeeded', ...(result === undefined ? {} : await storeResult(context, result)) }),
      fail: (message) => failed('OPERATOR_FAILED', { message }),
      skip: (message) => over({ state: 'skipped', diagnosis: diagnosisOf('OPERATOR_SKIPPED', { message }) }),
    };
  }
}

function memoOf({ method, kwargs = {} }: Deferral = {}): Record<string, Json> {
  if (Buffer.byteLength(JSON.stringify(kwargs)) > MAX_KWARGS_BYTES)
    throw new ReentryError('INTERNAL', `a deferral's kwargs may have ${String(MAX_KWARGS_BYTES)} bytes of JSON`, {
      transient: false,
    });
  return { ...(method === undefined ? {} : { method }), kwargs: { ...kwargs } };
}
