/** Lane `start`: the attempt's pod is made or met again. @see spec pod-operator §3, §4.2, §5.1 */
import { diagnosisOf, type DiagnosisCode, type DiagnosisFacts } from '../core/diagnosis.ts';
import { recordIn, textIn } from '../core/json.ts';
import { ReentryError } from '../errors.ts';
import type { Cluster } from '../ports.ts';
import { admissionOutcome, placeOf } from './admission.ts';
import { launched } from './deferral.ts';
import { launchRefused } from './launch-errors.ts';
import type { StepContext, StepOutcome } from './operator.ts';
import type { PodParams } from './params.ts';
import { podsOf } from './run-pods.ts';
import { clusterOf, type PodRequests, unique } from './pod-request.ts';

/** How soon a launch whose name an older attempt still has is tried again, in milliseconds. */
const OLDER_ATTEMPT_DELAY_MS = 5_000;

const failed = (code: DiagnosisCode, facts?: DiagnosisFacts): StepOutcome => ({
  kind: 'over',
  outcome: { state: 'failed', diagnosis: diagnosisOf(code, facts) },
});

/** Builds the pod, creates or adopts it, and says what to wait for. Safe to repeat. */
export async function launch(context: StepContext<PodParams>, requests: PodRequests): Promise<StepOutcome> {
  const { state, run, request, log } = context;
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
  const manifest = requests.manifest(context, params, attempt, cluster);
  const notAdmitted = requests.refused(manifest, placeOf(context, cluster));
  if (notAdmitted !== undefined) return admissionOutcome(notAdmitted);
  const namespace = textIn(recordIn(manifest, 'metadata'), 'namespace') ?? cluster.namespace;

  if ((await context.checkOwner()).cancelRequested)
    return { kind: 'over', outcome: { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED') } };
  try {
    const made = await podsOf(context, cluster).createPod(namespace, manifest, attempt);
    log.info({ pod: made.pod.name, namespace, attempt, outcome: made.kind }, 'pod launched');
    switch (made.kind) {
      case 'created':
      case 'adopted':
        return launched(context, params, made.pod, made.kind === 'created');
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
    const outcome = launchRefused(error, namespace, context.now());
    if (outcome === undefined) throw error;
    return outcome;
  }
}
