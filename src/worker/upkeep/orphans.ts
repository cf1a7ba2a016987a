/** Pods of the installation that no subscription names, as a triggerer reports them on lane `ctl`. */
import { isTerminal } from '../../core/run/transitions.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { Outcome } from '../../wire/outcome.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { cleanUp, subscribe } from '../protocol/announce.ts';
import type { BrokerParts } from '../protocol/engine.ts';
import type { OperatorParts } from '../protocol/operator-step.ts';
import { ACK } from '../protocol/settle.ts';
import type { Settlement } from '../protocol/settle.ts';

type OrphanParts = BrokerParts<'runs' | 'subscriptions'> & OperatorParts;

/**
 * Cleans an orphaned pod up, or stores its run's subscription again, as the run's state requires. A pod of an unknown run is only logged, never
 * deleted. Safe to repeat.
 */
export async function onOrphan(
  parts: OrphanParts,
  run: RunKey,
  pod: PodRef & { readonly attempt?: number | undefined },
): Promise<Settlement> {
  const seen = await parts.broker.runs.read(run, { leader: true });
  if (seen === undefined) {
    parts.log.warn({ ...run, pod: pod.name, namespace: pod.namespace }, 'pod of an unknown run; left alone');
    return ACK;
  }
  const state = seen.value;
  const { connection, namespace, name, uid } = pod;
  const isOld = pod.attempt !== undefined && pod.attempt < state.attempt;
  const isSecond = state.phase === 'Deferred' && state.pod !== undefined && state.pod.uid !== uid;
  if (isTerminal(state.phase) || isOld || isSecond) {
    parts.log.info({ ...run, pod: name, namespace, attempt: pod.attempt }, 'orphaned pod of a decided attempt');
    const attempt = pod.attempt ?? state.attempt;
    // An attempt that was followed by another one has failed, however the run ended.
    const outcome = isOld ? FAILED : outcomeOf(state, uid);
    await cleanUp(parts, run, { ...state, attempt, pod: { connection, namespace, name, uid }, outcome });
  } else if (state.phase === 'Deferred') await subscribe(parts, run, seen);
  return ACK;
}

const FAILED: Outcome = { state: 'failed' };

/** The outcome by which a pod of the present attempt is cleaned up. */
function outcomeOf({ outcome, pod }: RunState, uid: string): Outcome {
  if (outcome === undefined) return FAILED;
  // Created after the run's end: the stored outcome is that of another pod, and this one may still run.
  return pod?.uid === uid ? outcome : { state: 'cancelled' };
}
