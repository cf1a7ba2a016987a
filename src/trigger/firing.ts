/** From a judgement to the word that is said of it. */
import type { PodProjection } from '../core/pod/projection.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { Subscription, TriggerEvent } from '../wire/triggers.ts';
import { keys, type RunKey } from '../wire/subjects.ts';
import type { Firing } from './actions.ts';

/** A subscription as the store told it. */
interface Told {
  readonly run: RunKey;
  readonly subscription: Subscription;
  readonly revision: number;
}

/** A copy as messages carry it. */
export const travelling = (pod: PodProjection | undefined): TriggerEvent['pod'] =>
  pod === undefined ? undefined : { ...pod, containers: pod.containers.map((container) => ({ ...container })) };

/**
 * `fire:<run key>:<step>:<n>`, where n is the subscription's revision, the kind and a count: every replica that fires the same
 * says the same id (the broker keeps one), and two different firings of one step never share one.
 */
export function firing({ run, subscription, revision }: Told, event: TriggerEvent, count: number): Firing {
  const { queue, attempt, step, stateRev } = subscription;
  const id = `fire:${keys.run(run)}:${step}:${revision}.${event.kind}.${count}`;
  const common = { kind: 'fire', run, queue, id, event, revision } as const;
  // Only time and absence start an attempt; anything else said of a queued run (EXPIRED) is a worker's to decide.
  if (subscription.then === 'start' && (event.kind === 'timer' || event.kind === 'gone')) {
    return { ...common, step: { lane: 'start', message: { v: WIRE_VERSION, attempt, stateRev } } };
  }
  return {
    ...common,
    step: { lane: 'resume', message: { v: WIRE_VERSION, attempt, step, stateRev, subRev: revision, event } },
  };
}
