/** Lane `start`: creates the attempt's pod, or finds the one that exists, and defines the first wait. */
import { backOffMs } from '../core/back-off.ts';
import { textIn } from '../core/json.ts';
import { podVerdict } from '../core/pod/judge.ts';
import { runSelector } from '../core/pod/labels.ts';
import { type PodProjection, podRef, type PodRef } from '../core/pod/projection.ts';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import { KubernetesError, type KubernetesFault, ReentryError } from '../errors.ts';
import type { Cluster, CreateOutcome, Manifest } from '../ports/cluster.ts';
import type { Diagnosis } from '../wire/outcome.ts';
import type { Await } from '../wire/triggers.ts';
import { isNamespaceAway, launchRefused } from './creation-failure.ts';
import { failed, type StepContext, type StepOutcome } from './operator.ts';
import { markChecked, type PodStep } from './pod-step.ts';

/** Shortest time between two `running` re-entries, in milliseconds. */
const MIN_LOGGING_INTERVAL_MS = 5_000;
/** Longest, in milliseconds: a year. A larger number given by a client means "never", and the wire carries safe integers only. */
const MAX_LOGGING_INTERVAL_MS = 366 * 24 * 3_600_000;

/**
 * Longest time between the check that the worker still owns its run and the request that creates the pod, in milliseconds of a steady clock. A process that
 * was suspended in between checks again: meanwhile another worker may have ended the run.
 */
const MAX_CHECK_AGE_MS = 3_000;
/** Checks that may each take longer than that before the launch is requeued. */
const MAX_CHECKS = 3;

/** How soon a launch is retried whose pod name still belongs to an older attempt, in milliseconds. */
const OLDER_ATTEMPT_DELAY_MS = 5_000;

/** What operators do differently about a launch. */
export interface LaunchOptions {
  /** Whether the run goes on with a pod that it has already. Default false: only with the one under the manifest's own name. */
  readonly reattaches?: boolean;
  /** Runs `create` when its turn has come. Absent: at once. */
  readonly inTurn?: <T>(create: () => Promise<T>) => Promise<T>;
  /** The outcome for an error of the API; `undefined`: the error is thrown. Default `launchRefused`. */
  readonly refusal?: (error: unknown, namespace: string, now: number) => StepOutcome | undefined;
  /** Called with the attempt's pod, created or adopted by its name. */
  readonly created?: (pod: PodProjection) => void;
  /** A monotonic clock in milliseconds, which goes on while the process is suspended. Default `performance.now`. */
  readonly steadyNow?: () => number;
}

/** The namespace of a final manifest. */
export function namespaceOf(manifest: Manifest, cluster: Cluster): string {
  return textIn(manifest['metadata'], 'namespace') ?? cluster.namespace;
}

/** The attempt's pod: the one that the run has already, or a new one. Safe to repeat. */
export async function launchPod(step: PodStep, manifest: Manifest, options: LaunchOptions): Promise<StepOutcome> {
  const { reattaches = false, refusal = launchRefused } = options;
  const { context, cluster } = step;
  const { availability, isFresh = false } = context;
  const namespace = namespaceOf(manifest, cluster);
  // A redelivered launch goes on: its pod may exist, and a run must not wait without it.
  const before = isFresh ? await availability?.problem(cluster.connection, namespace) : undefined;
  if (before !== undefined) return untilAvailable(context, before);
  try {
    const existing = reattaches ? await existingPod(step, namespace) : undefined;
    return existing ?? (await createPod(step, namespace, manifest, options));
  } catch (error) {
    const outcome = refusal(error, namespace, context.now());
    const isAway = mayBeAway(error) ? await availability?.recheck(cluster.connection, namespace) : undefined;
    if (outcome === undefined) throw error;
    const why = isAway ?? (isNamespaceAway(error) ? namespaceAway(context, namespace) : undefined);
    return why === undefined ? outcome : untilAvailable(context, why);
  }
}

/** Bounds of the pause after which a run looks again whether its connection and namespace can be used. */
const AWAY_MIN_MS = 1_000;
const AWAY_MAX_MS = 30_000;

/** The launch is put off until what it lacks (connection, namespace, policy) is there. Charged to no budget. */
export function untilAvailable({ state, now }: StepContext<unknown>, why: Diagnosis): StepOutcome {
  const known = state.memo?.['awayTries'];
  const awayTries = (typeof known === 'number' ? known : 0) + 1;
  // Half of it is random, so that the runs of a connection that is back do not start all at once.
  const pauseMs = backOffMs(awayTries, AWAY_MIN_MS, AWAY_MAX_MS) * (0.5 + Math.random() / 2);
  const notBefore = Math.round(now() + pauseMs);
  return { kind: 'later', notBefore, why, infrastructure: false, memo: { ...state.memo, awayTries } };
}

/** Refusals that a connection or namespace that is away causes, among other things. */
const AWAY_FAULTS: readonly KubernetesFault[] = ['forbidden', 'unauthorized', 'unavailable', 'unknownOutcome'];
const mayBeAway = (error: unknown): boolean => error instanceof KubernetesError && AWAY_FAULTS.includes(error.fault);

/** A namespace that the installation names and that is missing is not the run's mistake: the run waits for it. */
function namespaceAway({ namespaces }: StepContext<unknown>, namespace: string): Diagnosis | undefined {
  return namespaces?.includes(namespace) === true
    ? diagnosisOf('PERMISSIONS_MISSING', { subject: namespace, message: 'it does not exist or is being deleted' })
    : undefined;
}

/** Creates the attempt's pod, or adopts the one that a repeated step finds under its name. */
async function createPod(
  step: PodStep,
  namespace: string,
  manifest: Manifest,
  { inTurn, created, steadyNow = () => performance.now() }: LaunchOptions,
): Promise<StepOutcome> {
  const { context } = step;
  const { attempt } = context.state;
  const result = await (inTurn === undefined
    ? send(step, namespace, manifest, steadyNow)
    : inTurn(() => send(step, namespace, manifest, steadyNow)));
  if (result === 'cancelled')
    return { kind: 'over', outcome: { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED') } };
  const { kind, pod } = result;
  context.log.info({ pod: pod.name, namespace, attempt, outcome: kind }, 'pod launched');
  switch (kind) {
    case 'created':
    case 'adopted':
      created?.(pod);
      return firstWait(step, pod, kind === 'created');
    case 'terminating':
      return failed('POD_DELETED', { pod });
    case 'olderAttempt':
      return {
        kind: 'later',
        notBefore: context.now() + OLDER_ATTEMPT_DELAY_MS,
        why: diagnosisOf('POD_STUCK_TERMINATING', { pod }),
        infrastructure: false,
      };
    case 'taken':
      return failed('POD_NAME_TAKEN', { subject: `${namespace}/${pod.name}` });
  }
}

type Created = 'created' | 'adopted' | 'terminating' | 'olderAttempt' | 'taken';

/** The check that the worker still owns its run, valid for `MAX_CHECK_AGE_MS`. */
class OwnerCheck {
  readonly #context: StepContext<unknown>;
  readonly #steadyNow: () => number;
  #checkedAt = -Infinity;
  cancelRequested = false;

  constructor(context: StepContext<unknown>, steadyNow: () => number) {
    this.#context = context;
    this.#steadyNow = steadyNow;
  }

  /**
   * Checks again unless the last check is recent.
   * @throws ReentryError FENCED where another worker owns the run; BUSY, transient, where a cancel was requested or checks take too long
   */
  async check(): Promise<void> {
    for (let checks = 0; this.#steadyNow() - this.#checkedAt > MAX_CHECK_AGE_MS; checks += 1) {
      if (checks === MAX_CHECKS)
        throw new ReentryError('BUSY', 'checking the owner of the run takes too long', { transient: true });
      const at = this.#steadyNow();
      ({ cancelRequested: this.cancelRequested } = await this.#context.checkOwner());
      if (this.cancelRequested) throw new ReentryError('BUSY', 'a cancel was requested', { transient: true });
      this.#checkedAt = at;
    }
  }
}

/** Sends the creation unless a cancel was requested. `kind`: its outcome, or whose pod has the name already. */
async function send(
  { context, cluster }: PodStep,
  namespace: string,
  manifest: Manifest,
  steadyNow: () => number,
): Promise<'cancelled' | { readonly kind: Created; readonly pod: PodProjection }> {
  const { run, state } = context;
  const owner = new OwnerCheck(context, steadyNow);
  let outcome: CreateOutcome;
  try {
    const before = () => owner.check();
    // The wait for the turn may have been long; the adapter asks again before each request.
    await before();
    outcome = await cluster.createPod(namespace, manifest, { before });
  } catch (error) {
    if (owner.cancelRequested) return 'cancelled';
    throw error;
  }
  const pod = cluster.project(outcome.pod);
  if (outcome.kind === 'created') return { kind: 'created', pod };
  if (pod.tenant !== run.tenant || pod.runId !== run.runId) return { kind: 'taken', pod };
  if (pod.attempt !== state.attempt) return { kind: 'olderAttempt', pod };
  return { kind: pod.deletedAt === undefined ? 'adopted' : 'terminating', pod };
}

/** The present attempt's pod under the name in its manifest (a GET; never creates); `undefined` where there is none or it is another run's. */
export async function findPod(
  { run, state }: Pick<StepContext<unknown>, 'run' | 'state'>,
  cluster: Cluster,
  manifest: Manifest,
): Promise<PodRef | undefined> {
  const name = textIn(manifest['metadata'], 'name') ?? '';
  const found = await cluster.getPod(namespaceOf(manifest, cluster), name);
  if (found === undefined) return undefined;
  const pod = cluster.project(found);
  const isOurs = pod.tenant === run.tenant && pod.runId === run.runId && pod.attempt === state.attempt;
  return isOurs ? podRef(pod) : undefined;
}

/**
 * The wait for a pod that the run has already; `undefined` where a new pod is needed. Of this attempt it is found by uid: a blocking run whose worker
 * died must not get a second pod. Of an earlier attempt it is found by labels, as in Airflow: alive, not being deleted, not marked.
 */
async function existingPod(step: PodStep, namespace: string): Promise<StepOutcome | undefined> {
  const { context, params, cluster } = step;
  const { state, log, run } = context;
  if (state.pod !== undefined && state.await?.terminal === true) {
    const known = await cluster.findPod(state.pod);
    if (known === undefined) return failed('POD_DELETED', { message: 'its pod no longer exists' });
    return firstWait(step, known, false);
  }
  // Creating the pod finds out about the cancel as well, and ends the run.
  if (state.attempt === 1 || (await context.checkOwner()).cancelRequested) return undefined;
  const earlier = (await cluster.listPods(namespace, runSelector(context.installation, run))).filter(
    (pod) => pod.tenant === run.tenant && pod.runId === run.runId && isAlive(pod, state.attempt),
  );
  const [found, second] = earlier;
  if (found === undefined) return undefined;
  if (params.reattachOnRestart && params.durable) {
    if (second !== undefined) return failed('PODS_AMBIGUOUS', { subject: earlier.map(({ name }) => name).join(', ') });
    log.info({ pod: found.name, attempt: state.attempt, podAttempt: found.attempt }, 're-attached to a live pod');
    return firstWait(step, found, false);
  }
  // Re-attaching is switched off: mark them all, and delete those that the run's policy deletes.
  for (const pod of earlier) {
    await markChecked(step, pod);
    if (params.onFinishAction === 'delete_pod') await cluster.deletePod(pod, params.terminationGracePeriod);
  }
  return undefined;
}

function isAlive(pod: PodProjection, attempt: number): boolean {
  const { phase, reason, deletedAt } = pod;
  const ended = phase === 'Succeeded' || phase === 'Failed' || reason?.toLowerCase() === 'evicted';
  return !ended && deletedAt === undefined && (pod.attempt ?? attempt) < attempt && podVerdict(pod).kind === 'open';
}

/**
 * The first wait of an attempt. Its deadlines are absolute, counted from the launch. The pod may take its schedule time-out (default: the startup
 * time-out) to be scheduled and the startup time-out to start after that, so at most both together.
 */
function firstWait({ context, params }: PodStep, pod: PodProjection, isNew: boolean): StepOutcome {
  const { request, state } = context;
  const now = context.now();
  // An adopted pod has used up time already; the cluster's clock may be ahead of ours.
  const from = isNew ? now : Math.min(now, pod.createdAt);
  const startMs = params.startupTimeoutSeconds * 1000;
  const scheduleMs = (params.scheduleTimeoutSeconds ?? 0) * 1000 || startMs;
  const { executionTimeoutSeconds } = request;
  const executionEnd =
    state.timeoutAt ?? (executionTimeoutSeconds === undefined ? undefined : from + executionTimeoutSeconds * 1000);
  const timeoutAt = executionEnd === undefined ? {} : { timeoutAt: Math.round(executionEnd) };
  const wait: Await = {
    terminal: true,
    from: Math.round(from),
    scheduleBy: Math.round(from + scheduleMs),
    startBy: Math.round(from + scheduleMs + startMs),
    ...timeoutAt,
    ...(typeof params.loggingInterval === 'number' && params.getLogs
      ? { loggingEveryMs: loggingEveryMs(params.loggingInterval) }
      : {}),
  };
  const facts = { pod: { ...podRef(pod), node: pod.node }, launchedAt: now, ...timeoutAt };
  return { kind: 'defer', pod: podRef(pod), await: wait, facts };
}

const loggingEveryMs = (seconds: number): number =>
  Math.min(MAX_LOGGING_INTERVAL_MS, Math.max(MIN_LOGGING_INTERVAL_MS, Math.round(seconds * 1000)));
