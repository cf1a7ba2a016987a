/** Lane `start`: the attempt's pod is made or met again. @see spec pod-operator §3, §4.2, §5.1 */
import { diagnosisOf, type DiagnosisCode, type DiagnosisFacts } from '../core/run/diagnosis.ts';
import { podVerdict } from '../core/pod/judge.ts';
import { recordIn, textIn } from '../core/json.ts';
import { ReentryError } from '../errors.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import { targetOf } from '../policy/check-manifest.ts';
import { launched, refOf } from './deferral.ts';
import { launchRefused } from './launch-errors.ts';
import type { StepContext, StepOutcome } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import { podsOf } from './run-pods.ts';
import { clusterOf, type PodManifests, unique } from './pod-manifests.ts';
import { graceOf, type PodStep, podStep } from './pod-step.ts';
import type { CallbackHost } from './step-callbacks.ts';

/** How soon a launch whose name an older attempt still has is tried again, in milliseconds. */
const OLDER_ATTEMPT_DELAY_MS = 5_000;

const failed = (code: DiagnosisCode, facts?: DiagnosisFacts): StepOutcome => ({
  kind: 'over',
  outcome: { state: 'failed', diagnosis: diagnosisOf(code, facts) },
});

/** Builds the pod, creates or adopts it, and says what to wait for. Safe to repeat. */
export async function launch(
  context: StepContext<PodParams>,
  requests: PodManifests,
  host: CallbackHost,
): Promise<StepOutcome> {
  const { state, run, request } = context;
  const { attempt } = state;
  const { params, problems } = requests.rendered(run, request, context.params, attempt);
  const refused = params === undefined ? problems : [...problems, ...requests.check(request, context.params, run)];
  if (params === undefined || refused.length > 0) return failed('INVALID_REQUEST', { problems: unique(refused) });

  let cluster: Cluster;
  try {
    cluster = clusterOf(context, params);
  } catch (error) {
    if (!(error instanceof ReentryError) || error.code !== 'CONFIG_INVALID') throw error;
    return failed('UNKNOWN_CONNECTION', { subject: params.kubernetesConnId ?? undefined, message: error.message });
  }
  const step = podStep(host, context, params, cluster);
  await step.callbacks.clientUsed();
  const manifest = await step.callbacks.manifestCreated(requests.manifest(context, params, attempt, cluster));
  const violation = requests.refused(manifest, targetOf(context, cluster));
  if (violation !== undefined) return failed(violation.code, violation);
  const namespace = textIn(recordIn(manifest, 'metadata'), 'namespace') ?? cluster.namespace;
  const met = await metAgain(step, namespace).catch((error: unknown) => {
    const refusal = launchRefused(error, namespace, context.now());
    if (refusal === undefined) throw error;
    return refusal;
  });
  const outcome = met ?? (await launchManifest({ ...context, params }, cluster, manifest));
  if (outcome.kind === 'defer' && outcome.pod !== undefined) await step.callbacks.pod(outcome.pod, 'onPodCreation');
  return outcome;
}

/** What an operator may want otherwise of a launch. */
export interface Launching {
  /** Runs the creation when its turn has come. Default: at once. */
  readonly turn?: <T>(create: () => Promise<T>) => Promise<T>;
  /** What a refusal means; `undefined`: it is thrown. Default: `launchRefused`. */
  readonly refused?: (error: unknown, namespace: string, now: number) => StepOutcome | undefined;
  /** Told of the attempt's pod. */
  readonly launched?: (pod: PodProjection) => void;
}

/** Creates or adopts the attempt's pod, whoever built its manifest. `context.params`: what the run waits for, and how long. Safe to repeat. */
export async function launchManifest(
  context: StepContext<PodParams>,
  cluster: Cluster,
  manifest: Manifest,
  { turn = (create) => create(), refused = launchRefused, launched: tell }: Launching = {},
): Promise<StepOutcome> {
  const { log } = context;
  const { attempt } = context.state;
  const namespace = textIn(recordIn(manifest, 'metadata'), 'namespace') ?? cluster.namespace;

  try {
    const made = await turn(async () =>
      // Right before the creation: the turn may have been long in coming.
      (await context.checkOwner()).cancelRequested
        ? undefined
        : await podsOf(context, cluster).createPod(namespace, manifest, attempt),
    );
    if (made === undefined)
      return { kind: 'over', outcome: { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED') } };
    log.info({ pod: made.pod.name, namespace, attempt, outcome: made.kind }, 'pod launched');
    switch (made.kind) {
      case 'created':
      case 'adopted':
        tell?.(made.pod);
        return launched(context, context.params, made.pod, made.kind === 'created');
      case 'terminating':
        return failed('POD_DELETED', { pod: made.pod });
      case 'olderAttempt':
        return {
          kind: 'later',
          notBefore: context.now() + OLDER_ATTEMPT_DELAY_MS,
          why: diagnosisOf('POD_STUCK_TERMINATING', { pod: made.pod }),
          infrastructure: false,
        };
      case 'taken':
        return failed('POD_NAME_TAKEN', { subject: `${namespace}/${made.pod.name}` });
    }
  } catch (error) {
    const outcome = refused(error, namespace, context.now());
    if (outcome === undefined) throw error;
    return outcome;
  }
}

/** The present attempt's pod under the name its manifest gives it (GET; never creates); `undefined` where there is none or it is another's. */
export async function findManifest(
  { run, state }: Pick<StepContext<unknown>, 'run' | 'state'>,
  cluster: Cluster,
  manifest: Manifest,
): Promise<PodRef | undefined> {
  const metadata = recordIn(manifest, 'metadata');
  const found = await cluster.getPod(
    textIn(metadata, 'namespace') ?? cluster.namespace,
    textIn(metadata, 'name') ?? '',
  );
  if (found === undefined) return undefined;
  const pod = cluster.project(found);
  const ours = pod.tenant === run.tenant && pod.runId === run.runId && pod.attempt === state.attempt;
  return ours ? refOf(pod) : undefined;
}

/**
 * The pod that this run has already, where there is one. Of this attempt by its uid: a run whose worker died while it kept its slot
 * must not get a second pod for it. Of an earlier attempt by its labels, as the seed finds it: alive, not being deleted, not marked.
 */
async function metAgain(step: PodStep, namespace: string): Promise<StepOutcome | undefined> {
  const { context, params, pods } = step;
  const { state, log } = context;
  if (state.pod !== undefined && state.await?.terminal === true) {
    const known = await pods.readPod(state.pod);
    if (known === undefined) return failed('POD_DELETED', { message: 'its pod is not there any more' });
    return launched(context, params, known, false);
  }
  // A cancelled run is told so where the pod would be made.
  if (state.attempt === 1 || (await context.checkOwner()).cancelRequested) return undefined;
  const earlier = (await pods.findPods(namespace, context.installation)).filter((pod) => isAlive(pod, state.attempt));
  const [found, second] = earlier;
  if (found === undefined) return undefined;
  if (params.reattachOnRestart && params.durable) {
    if (second !== undefined) return failed('PODS_AMBIGUOUS', { subject: earlier.map(({ name }) => name).join(', ') });
    log.info({ pod: found.name, attempt: state.attempt, podAttempt: found.attempt }, 'a live pod of this run was met');
    return launched(context, params, found, false);
  }
  // Not wanted: every one of them is marked, and goes where the policy deletes.
  for (const pod of earlier) {
    await pods.patchAlreadyChecked(pod);
    if (params.onFinishAction === 'delete_pod') await pods.deletePod(pod, graceOf(step));
  }
  return undefined;
}

function isAlive(pod: PodProjection, attempt: number): boolean {
  const { phase, reason, deletedAt } = pod;
  const ended = phase === 'Succeeded' || phase === 'Failed' || reason?.toLowerCase() === 'evicted';
  return !ended && deletedAt === undefined && (pod.attempt ?? attempt) < attempt && podVerdict(pod).kind === 'open';
}
