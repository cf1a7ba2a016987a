/** Operators of the user's own: a run that does something around its pod, several things after it, or only waits. */
import { z } from 'zod';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { type Problem, ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Manifest } from '../ports/cluster.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { Operator, StepContext, StepOutcome } from './operator.ts';
import { type PodParams, type PodParamsInput, podParamsSchema } from './pod-params.ts';
import { PodOperator, type PodOperatorOptions } from './pod-operator.ts';
import { storeResult } from './result.ts';

type Json = z.infer<ReturnType<typeof z.json>>;
/** What a deferral hands to the method that it names; kept in the run's state, so small (≤ 1 KiB of JSON). */
export type Kwargs = Readonly<Record<string, Json>>;

const MAX_KWARGS_BYTES = 1_024;
const memoSchema = z.looseObject({
  method: z.string().optional(),
  kwargs: z.record(z.string(), z.json()).optional(),
});

/** Where a deferral goes on: a method of the definition, and what it is given. Default `triggerReentry`. */
export interface Deferral {
  readonly method?: string;
  readonly kwargs?: Kwargs;
}

/** One step of a run, as an operator's code sees it. Every method may be called again for the same step: a worker may die after any of them. */
export interface Task<Params> {
  readonly run: RunKey;
  readonly params: Params;
  readonly request: RunRequest;
  /** From 1. */
  readonly attempt: number;
  /** What the deferral that led here said. */
  readonly kwargs: Kwargs;
  readonly log: Log;
  /** Broker time, epoch milliseconds. */
  now(): number;
  /** Launches the run's pod (or adopts it) and waits for its end. Once per attempt. */
  launchPod(next?: Deferral): Promise<StepOutcome>;
  /** What the `pod` operator makes of an event of the pod: log, result, outcome, or waiting on. */
  finishPod(event: TriggerEvent): Promise<StepOutcome>;
  /** Waits until `at` (epoch milliseconds or a date) without a slot: a timer trigger. */
  waitUntil(at: number | Date, next?: Deferral): StepOutcome;
  /** Waits `seconds` from now. */
  waitFor(seconds: number, next?: Deferral): StepOutcome;
  /** The end: succeeded, with a JSON result of any size that results may have. */
  succeed(result?: Json): Promise<StepOutcome>;
  /** The end of this attempt: failed by the operator's own judgement (`OPERATOR_FAILED`); spends a retry. */
  fail(why: string): StepOutcome;
  /** The end: skipped. */
  skip(why: string): StepOutcome;
}

type Method<Params> = (task: Task<Params>, event: TriggerEvent) => StepOutcome | Promise<StepOutcome>;

/** What a user writes. With `pod` alone it is the `pod` operator with parameters of its own. */
export interface OperatorDefinition<Params> {
  /** What requests say in `operator`. */
  readonly name: string;
  /** Checks `params` of a request; strict, so that a slip is refused with its path. */
  readonly params: z.ZodType<Params>;
  /** The run's pod. Pure: asked again on every worker, for stops and clean-ups. Absent: the operator makes no pod. */
  readonly pod?: (params: Params, request: RunRequest) => PodParamsInput;
  /** Problems that a schema cannot say. Pure. */
  readonly check?: (request: RunRequest, params: Params) => readonly Problem[];
  /** The first step. Default: `launchPod`. */
  readonly execute?: (task: Task<Params>) => StepOutcome | Promise<StepOutcome>;
  /** Methods that deferrals name. `triggerReentry` by default: `finishPod`. */
  readonly methods?: Readonly<Record<string, Method<Params>>>;
}

/** An operator that a worker can be given; it is completed with the worker's own configuration. */
export interface DefinedOperator {
  readonly name: string;
  /** Bound to what the worker is configured with: pod security, templates. */
  with(options: PodOperatorOptions): Operator<unknown>;
}

/** Defines an operator. @throws ReentryError CONFIG_INVALID for a name that no request can say */
export function defineOperator<Params>(definition: OperatorDefinition<Params>): DefinedOperator {
  const { name, pod, execute } = definition;
  if (!/^[A-Za-z][A-Za-z0-9_-]{0,62}$/.test(name))
    throw invalid(`an operator's name must be a word of letters, digits, - and _, not ${JSON.stringify(name)}`);
  if (pod === undefined && execute === undefined) throw invalid(`operator ${name} has neither a pod nor execute`);
  return { name, with: (options) => new UserOperator(definition, new PodOperator(options)) };
}

/** The seed's operator: a request's parameters are the pod's. */
export const podOperator = defineOperator({ name: 'pod', params: podParamsSchema, pod: (params) => params });

/** Whether `value` is what `defineOperator` gives; for modules that export operators. */
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

class UserOperator<Params> implements Operator<Params> {
  readonly name: string;
  readonly paramsSchema: z.ZodType<Params>;
  readonly #definition: OperatorDefinition<Params>;
  readonly #pods: PodOperator;

  constructor(definition: OperatorDefinition<Params>, pods: PodOperator) {
    this.name = definition.name;
    this.paramsSchema = definition.params;
    this.#definition = definition;
    this.#pods = pods;
  }

  check(request: RunRequest, params: Params, run?: RunKey): readonly Problem[] {
    const own = this.#definition.check?.(request, params) ?? [];
    const pod = this.#definition.pod?.(params, request);
    if (pod === undefined) return own;
    const parsed = podParamsSchema.safeParse(pod);
    if (!parsed.success)
      return [...own, ...parsed.error.issues.map(({ path, message }) => ({ path: `pod.${path.join('.')}`, message }))];
    return [...own, ...this.#pods.check(request, parsed.data, run)];
  }

  admit(request: RunRequest, params: Params, run: RunKey): readonly Problem[] {
    const parsed = podParamsSchema.safeParse(this.#definition.pod?.(params, request));
    return parsed.success ? this.#pods.admit(request, parsed.data, run) : [];
  }

  render(context: Omit<StepContext<Params>, 'checkOwner' | 'state'>, attempt: number): Manifest {
    return this.#pods.render(this.#surroundings(context), attempt);
  }

  async dryRun(context: Omit<StepContext<Params>, 'checkOwner' | 'state'>, attempt: number): Promise<Manifest> {
    return await this.#pods.dryRun(this.#surroundings(context), attempt);
  }

  async execute(context: StepContext<Params>): Promise<StepOutcome> {
    const task = this.#task(context, {});
    return await (this.#definition.execute?.(task) ?? task.launchPod());
  }

  async triggerReentry(context: StepContext<Params>, event: TriggerEvent): Promise<StepOutcome> {
    const { method = 'triggerReentry', kwargs = {} } = memoSchema.parse(context.state.memo ?? {});
    const task = this.#task(context, kwargs);
    // The logging interval is the pod's own affair, whatever comes after it.
    if (event.kind === 'running') return await task.finishPod(event);
    const { methods = {} } = this.#definition;
    const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (found !== undefined) return await found(task, event);
    if (method === 'triggerReentry' && this.#definition.pod !== undefined) return await task.finishPod(event);
    throw new ReentryError('INTERNAL', `operator ${this.name} has no method ${method}`, { transient: false });
  }

  async find(context: StepContext<Params>): Promise<PodRef | undefined> {
    return this.#definition.pod === undefined ? undefined : await this.#pods.find(this.#podContext(context));
  }

  keepsSlot(params: Params, request: RunRequest): boolean {
    // Only a definition that leaves the pod's way alone can be held as the pod operator is.
    const { pod, execute, methods } = this.#definition;
    if (pod === undefined || execute !== undefined || methods !== undefined) return false;
    return this.#pods.keepsSlot(podParamsSchema.parse(pod(params, request)));
  }

  namesContainers(params: Params, request: RunRequest): boolean {
    const parsed = podParamsSchema.safeParse(this.#definition.pod?.(params, request));
    return parsed.success && this.#pods.namesContainers(parsed.data);
  }

  async stop(context: StepContext<Params>, pod: PodRef): Promise<'gone' | 'stopping'> {
    return await this.#pods.stop(this.#podContext(context), pod);
  }

  async followLogs(
    context: StepContext<Params>,
    publish: (chunk: LiveChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#definition.pod !== undefined) await this.#pods.followLogs(this.#podContext(context), publish, signal);
  }

  async cleanUp(context: StepContext<Params>, outcome: Outcome, pod: PodRef): Promise<void> {
    await this.#pods.cleanUp(this.#podContext(context), outcome, pod);
  }

  #surroundings<Context extends Omit<StepContext<Params>, 'checkOwner' | 'state'>>(
    context: Context,
  ): Omit<Context, 'params'> & { readonly params: PodParams } {
    const { pod } = this.#definition;
    if (pod === undefined)
      throw new ReentryError('INVALID_REQUEST', `operator ${this.name} makes no pod`, { transient: false });
    return { ...context, params: podParamsSchema.parse(pod(context.params, context.request)) };
  }

  #podContext(context: StepContext<Params>): StepContext<PodParams> {
    return this.#surroundings(context);
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
        const outcome = await this.#pods.execute(this.#podContext(context));
        if (outcome.kind !== 'defer' || next === undefined) return outcome;
        return { ...outcome, facts: { ...outcome.facts, memo: { ...outcome.facts?.memo, ...memoOf(next) } } };
      },
      finishPod: (event) => this.#pods.triggerReentry(this.#podContext(context), event),
      waitUntil,
      waitFor: (seconds, next) => waitUntil(context.now() + seconds * 1_000, next),
      succeed: async (result) =>
        over({ state: 'succeeded', ...(result === undefined ? {} : await storeResult(context, result)) }),
      fail: (why) => over({ state: 'failed', diagnosis: diagnosisOf('OPERATOR_FAILED', { message: why }) }),
      skip: (why) => over({ state: 'skipped', diagnosis: diagnosisOf('OPERATOR_SKIPPED', { message: why }) }),
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
