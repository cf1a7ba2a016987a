/** Whether a held slot was left over: its run is past the attempt, or the attempt's pod has ended. */
import type { Clusters } from '../ports/cluster.ts';
import type { RunStore } from '../ports/stores.ts';
import type { HeldSlot } from './slots.ts';

/** Whether a slot may be freed, from the run's state and one GET: a watch that shows no live pod in it may be stale. */
export function isOver({
  broker: { runs },
  clusters,
}: {
  readonly broker: { readonly runs: Pick<RunStore, 'read'> };
  readonly clusters: Pick<Clusters, 'get'>;
}): (held: HeldSlot) => Promise<boolean> {
  return async ({ holder: { tenant, runId, attempt } }) => {
    const state = (await runs.read({ tenant, runId }, { leader: true }))?.value;
    if (state === undefined) return true;
    const { phase, pod } = state;
    // The attempt waits for its start, or is being started: its pod may be created at any time.
    if (state.attempt <= attempt && (phase === 'Queued' || phase === 'Starting')) return false;
    const present = pod === undefined ? undefined : await clusters.get(pod.connection).findPod(pod);
    return (
      present === undefined ||
      present.attempt !== attempt ||
      present.phase === 'Succeeded' ||
      present.phase === 'Failed'
    );
  };
}
