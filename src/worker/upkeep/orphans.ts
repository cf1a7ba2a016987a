import { isTerminal } from '../../core/run/transitions.ts';
import type { CtlMessage } from '../../wire/steps.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine, Settled } from '../protocol/engine.ts';
import { ACK } from '../protocol/engine.ts';
import { cleanUp, subscribeTo } from '../protocol/announce.ts';

/**
 * A pod of the installation that no subscription names. What its run's state says decides; a pod of an unknown run is never deleted,
 * only reported. Safe to repeat. @see spec protocol §7 "Orphans"
 */
export async function onOrphan(engine: Engine, run: RunKey, { pod }: CtlMessage): Promise<Settled> {
  if (pod === undefined) return ACK;
  const seen = await engine.broker.runs.read(run, { leader: true });
  if (seen === undefined) {
    engine.log.warn({ ...run, pod: pod.name, namespace: pod.namespace }, 'pod of an unknown run; left alone');
    return ACK;
  }
  const state = seen.value;
  const { connection, namespace, name, uid } = pod;
  const old = pod.attempt !== undefined && pod.attempt < state.attempt;
  const second = state.phase === 'Deferred' && state.pod !== undefined && state.pod.uid !== uid;
  if (isTerminal(state.phase) || old || second) {
    engine.log.info({ ...run, pod: name, namespace, attempt: pod.attempt }, 'orphaned pod of a decided attempt');
    // An attempt that another one followed has failed, however the run ended.
    const outcome = old || state.outcome === undefined ? { state: 'failed' as const } : state.outcome;
    await cleanUp(engine, run, {
      ...state,
      attempt: pod.attempt ?? state.attempt,
      pod: { connection, namespace, name, uid },
      outcome,
    });
  } else if (state.phase === 'Deferred') await subscribeTo(engine, run, seen);
  return ACK;
}
