import { concat, from, interval, mergeMap, of } from 'rxjs';
import { z } from 'zod';
import { diagnosisOf } from '../../src/core/run/diagnosis.ts';
import { KubernetesError, ReentryError } from '../../src/errors.ts';
import type { PodProjection, PodRef } from '../../src/core/pod/projection.ts';
import type { Cluster, PodSignal } from '../../src/ports/cluster.ts';
import { podProjectionSchema } from '../../src/wire/pods.ts';
import type { Operator, StepContext } from '../../src/operator/operator.ts';
import type { Outcome } from '../../src/wire/outcome.ts';
import type { TriggerEvent } from '../../src/wire/triggers.ts';

/** How a scripted pod behaves; part of the run's request, so that a retry can behave differently. */
export const scriptSchema = z.strictObject({
  /** Exit code of each attempt; the last one counts for all further ones. `null`: never ends by itself. */
  exits: z.array(z.number().int().nullable()).default([0]),
  /** Attempts whose pod is evicted instead. */
  evicted: z.array(z.number().int()).default([]),
  runMs: z.number().default(200),
  goneMs: z.number().default(100),
  /** How long before the DELETE its `deletionTimestamp` is: a pod that should have been gone long ago. */
  deletedAgoMs: z.number().default(0),
  loggingEveryMs: z.number().optional(),
  /** Whether the run is blocking. */
  blocking: z.boolean().default(false),
  /** Number of first creations that the API refuses temporarily. */
  refusals: z.number().int().default(0),
  /** How often the response to a successful creation is lost. */
  lostReplies: z.number().int().default(0),
  /** How often the operator throws before it does anything, and whether the error is a known one. */
  throws: z.number().int().default(0),
  throwsTransient: z.boolean().default(false),
});
export type Script = z.infer<typeof scriptSchema>;

interface Pod {
  readonly projection: PodProjection;
  readonly script: Script;
  readonly endsAt: number;
  readonly goneAt?: number;
}

/** Pods in memory, with the API's rules: one per name, DELETE waits for the grace period, the uid distinguishes pods of one name. */
export class SimulatedPods {
  /** Every creation, by `tenant/run/attempt`. */
  readonly creations = new Map<string, number>();
  /** Clean-ups, as `run/attempt: state`. */
  readonly cleanUps: string[] = [];
  /** Pods that were created while another run's pod of the same concurrency key was live. */
  readonly keyShared: string[] = [];
  readonly #keys = new Map<string, string>();
  readonly #pods = new Map<string, Pod>();
  readonly #last = new Map<string, PodProjection>();
  readonly #refused = new Map<string, number>();
  #count = 0;

  /** Pods that exist. */
  alive(now: number): readonly PodProjection[] {
    return [...this.#pods.keys()].flatMap((name) => this.byName(name, now) ?? []);
  }

  byName(name: string, now: number): PodProjection | undefined {
    const pod = this.#pods.get(name);
    if (pod === undefined) return undefined;
    const { projection, script, endsAt, goneAt } = pod;
    const exit = exitOf(script, projection.attempt ?? 1);
    const evicted = script.evicted.includes(projection.attempt ?? 1);
    const ended = now >= endsAt && (exit !== null || evicted);
    const failed = evicted || exit !== 0;
    const seen: PodProjection = {
      ...projection,
      phase: ended ? (failed ? 'Failed' : 'Succeeded') : 'Running',
      ...(ended && evicted ? { reason: 'Evicted' } : {}),
      ...(goneAt === undefined ? {} : { deletedAt: goneAt - script.goneMs - script.deletedAgoMs }),
      containers: projection.containers.map((container) =>
        ended && !evicted
          ? {
              ...container,
              state: 'terminated',
              exitCode: exit ?? 0,
              finishedAt: endsAt,
              reason: exit === 0 ? 'Completed' : 'Error',
            }
          : { ...container, state: 'running' },
      ),
    };
    this.#last.set(projection.uid, seen);
    if (goneAt !== undefined && now >= goneAt) {
      this.#pods.delete(name);
      return undefined;
    }
    return seen;
  }

  /** The pod with this uid as it is, or as it was before its deletion. */
  look(uid: string, name: string, now: number): { readonly there: boolean; readonly pod: PodProjection | undefined } {
    const present = this.byName(name, now);
    return present?.uid === uid ? { there: true, pod: present } : { there: false, pod: this.#last.get(uid) };
  }

  throwAsAsked({ run }: StepContext<unknown>, { throws, throwsTransient }: Script): void {
    const key = `throws ${run.runId}`;
    const before = this.#refused.get(key) ?? 0;
    if (before >= throws) return;
    this.#refused.set(key, before + 1);
    if (throwsTransient) throw new ReentryError('UNREACHABLE', 'not now', { transient: true });
    throw new TypeError('a mistake of the operator');
  }

  loseReplyAsAsked({ run }: StepContext<unknown>, { lostReplies }: Script): void {
    const key = `lost ${run.runId}`;
    const before = this.#refused.get(key) ?? 0;
    if (before >= lostReplies) return;
    this.#refused.set(key, before + 1);
    throw new KubernetesError('unknownOutcome', 'no answer', { status: 0, reason: 'Timeout' });
  }

  /** `undefined`: refused temporarily. */
  create(context: StepContext<unknown>, script: Script): PodRef | undefined {
    const name = podNameOf(context);
    const now = context.now();
    const present = this.byName(name, now);
    if (present !== undefined) return present;
    const refusedBefore = this.#refused.get(name) ?? 0;
    if (refusedBefore < script.refusals) {
      this.#refused.set(name, refusedBefore + 1);
      return undefined;
    }
    const key = `${context.run.tenant}/${context.run.runId}/${context.state.attempt}`;
    this.creations.set(key, (this.creations.get(key) ?? 0) + 1);
    this.#count += 1;
    const projection: PodProjection = {
      connection: 'sim',
      namespace: 'sim',
      name,
      uid: `uid-${this.#count}`,
      resourceVersion: '1',
      phase: 'Running',
      createdAt: now,
      baseContainer: 'base',
      containers: [{ name: 'base', kind: 'main', state: 'running', restartCount: 0 }],
      tenant: context.run.tenant,
      runId: context.run.runId,
      attempt: context.state.attempt,
      alreadyChecked: false,
    };
    this.#noteKey(context, name, now);
    this.#pods.set(name, { projection, script, endsAt: now + script.runMs });
    return projection;
  }

  #noteKey({ request: { concurrencyKey }, run }: StepContext<unknown>, name: string, now: number): void {
    if (concurrencyKey === undefined) return;
    const live = this.alive(now).filter(({ phase, deletedAt }) => phase === 'Running' && deletedAt === undefined);
    for (const other of live)
      if (this.#keys.get(other.name) === concurrencyKey && other.runId !== run.runId)
        this.keyShared.push(`${concurrencyKey}: ${other.runId ?? ''} and ${run.runId}`);
    this.#keys.set(name, concurrencyKey);
  }

  /** Deletes the pod; `false`: it does not exist. */
  remove(ref: PodRef, now: number): boolean {
    const pod = this.#pods.get(ref.name);
    if (pod?.projection.uid !== ref.uid || this.byName(ref.name, now) === undefined) return false;
    if (pod.goneAt === undefined) this.#pods.set(ref.name, { ...pod, goneAt: now + pod.script.goneMs });
    return true;
  }
}

function exitOf({ exits }: Script, attempt: number): number | null {
  const exit = exits[Math.min(attempt, exits.length) - 1];
  return exit === undefined ? 0 : exit;
}

const podNameOf = ({ run, state }: StepContext<unknown>): string => `${run.tenant}.${run.runId}.${state.attempt}`;

/** An operator that creates simulated pods. `around` wraps its one write that cannot be repeated. */
export function scriptedOperator(
  simulated: SimulatedPods,
  around: <T>(write: () => Promise<T>) => Promise<T> = (write) => write(),
): Operator<Script> {
  const over = (outcome: Outcome, event: TriggerEvent) => ({
    kind: 'over' as const,
    outcome,
    facts: { finishedAt: event.at },
  });
  const ref = ({ connection, namespace, name, uid }: PodRef): PodRef => ({ connection, namespace, name, uid });
  return {
    name: 'pod',
    paramsSchema: scriptSchema,
    check: () => [],
    isBlocking: (params) => params.blocking,
    render: ({ run }) => ({ kind: 'Pod', metadata: { name: run.runId } }),
    async execute(context) {
      simulated.throwAsAsked(context, context.params);
      if ((await context.checkOwner()).cancelRequested) return { kind: 'over', outcome: { state: 'cancelled' } };
      const pod = await around(() => Promise.resolve(simulated.create(context, context.params)));
      if (pod === undefined) {
        const why = diagnosisOf('API_THROTTLED');
        return { kind: 'later', notBefore: context.now() + 100, why, infrastructure: false };
      }
      simulated.loseReplyAsAsked(context, context.params);
      const { loggingEveryMs } = context.params;
      const wait = { terminal: true, ...(loggingEveryMs === undefined ? {} : { loggingEveryMs }) };
      return { kind: 'defer', pod: ref(pod), await: wait };
    },
    triggerReentry(context, event) {
      const { pod, await: wait } = context.state;
      if (event.kind === 'running' && pod !== undefined && wait !== undefined)
        return Promise.resolve({ kind: 'defer', pod: ref(pod), await: wait });
      if (event.kind === 'success') return Promise.resolve(over({ state: 'succeeded', exitCode: 0 }, event));
      const base = event.pod?.containers[0];
      const diagnosis =
        event.pod?.reason === 'Evicted'
          ? diagnosisOf('EVICTED', { pod: event.pod })
          : event.kind === 'gone'
            ? diagnosisOf('POD_DELETED', { pod: event.pod })
            : diagnosisOf('CONTAINER_FAILED', { pod: event.pod, container: base });
      return Promise.resolve(over({ state: 'failed', diagnosis, exitCode: base?.exitCode }, event));
    },
    find: (context) => {
      const pod = simulated.byName(podNameOf(context), context.now());
      return Promise.resolve(pod === undefined ? undefined : ref(pod));
    },
    stop: (context, pod) => Promise.resolve(simulated.remove(pod, context.now()) ? 'stopping' : 'gone'),
    cleanUp: (context, outcome, pod) => {
      simulated.cleanUps.push(`${context.run.runId}/${String(context.state.attempt)}: ${outcome.state}`);
      simulated.remove(pod, context.now());
      return Promise.resolve();
    },
  };
}

/** The simulated pods as a cluster, for blocking runs. */
export function simulatedCluster(simulated: SimulatedPods, now: () => number): Cluster {
  const nowhere = () => Promise.reject(new Error('simulated pods have no such call'));
  return {
    connection: 'sim',
    namespace: 'sim',
    unansweredMs: () => 0,
    watchPods$: () => {
      const known = new Map<string, PodProjection>();
      const changes$ = interval(20).pipe(
        mergeMap(() => {
          const pods = simulated.alive(now());
          const gone = [...known.values()].filter(({ uid }) => !pods.some((pod) => pod.uid === uid));
          for (const { uid } of gone) known.delete(uid);
          for (const pod of pods) known.set(pod.uid, pod);
          return from([
            ...pods.map((pod): PodSignal => ({ kind: 'pod', pod })),
            ...gone.map((pod): PodSignal => ({ kind: 'gone', pod, confirmed: true })),
          ]);
        }),
      );
      return concat(of<PodSignal>({ kind: 'synced' }), changes$);
    },
    createPod: nowhere,
    getPod: (_, name) => {
      const pod = simulated.byName(name, now());
      return Promise.resolve(pod === undefined ? undefined : { ...pod });
    },
    findPod: ({ name, uid }) => {
      const pod = simulated.byName(name, now());
      return Promise.resolve(pod?.uid === uid ? podProjectionSchema.parse({ ...pod }) : undefined);
    },
    project: (pod) => podProjectionSchema.parse(pod),
    listPods: () => Promise.resolve(simulated.alive(now())),
    deletePod: (pod) => Promise.resolve(simulated.remove(pod, now()) ? 'asked' : 'gone'),
    patchPod: nowhere,
    logs: () => {
      throw new Error('simulated pods have no logs');
    },
    exec: nowhere,
    podEvents: () => Promise.resolve([]),
    missingPermissions: () => Promise.resolve([]),
    version: () => Promise.resolve('0'),
    requestCounts: () => ({}),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
