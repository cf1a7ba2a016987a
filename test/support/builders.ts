import type { ContainerProjection, PodProjection } from '../../src/core/pod/projection.ts';
import { shardOf } from '../../src/core/identity.ts';
import type { SubscriptionChange } from '../../src/ports/stores.ts';
import type { Subscription } from '../../src/wire/triggers.ts';

/** A pod's main container. */
export function aContainer(facts: Partial<ContainerProjection> = {}): ContainerProjection {
  return { name: 'base', kind: 'main', state: 'running', startedAt: 0, restartCount: 0, ...facts };
}

/** A running pod of run `default/r1`. */
export function aPod(facts: Partial<PodProjection> = {}): PodProjection {
  return {
    connection: 'default',
    namespace: 'jobs',
    name: 'r1-pod',
    uid: 'u1',
    resourceVersion: '1',
    phase: 'Running',
    node: 'n1',
    createdAt: 0,
    baseContainer: 'base',
    containers: [aContainer()],
    tenant: 'default',
    runId: 'r1',
    attempt: 1,
    queue: 'default',
    alreadyChecked: false,
    ...facts,
  };
}

/** The same pod, ended with `exitCode`. */
export function anEndedPod(exitCode: number, facts: Partial<PodProjection> = {}): PodProjection {
  return aPod({
    phase: exitCode === 0 ? 'Succeeded' : 'Failed',
    resourceVersion: '2',
    containers: [aContainer({ state: 'terminated', exitCode, reason: exitCode === 0 ? 'Completed' : 'Error' })],
    ...facts,
  });
}

/** A subscription of run `default/r1` to the end of `aPod()`. */
export function aSubscription(facts: Partial<Subscription> = {}): Subscription {
  const { connection, namespace, name, uid } = aPod();
  return {
    v: 1,
    queue: 'default',
    attempt: 1,
    step: 0,
    stateRev: 7,
    pod: { connection, namespace, name, uid },
    await: { terminal: true },
    then: 'resume',
    ...facts,
  };
}

/** A stored subscription as the store's watch reports it. */
export function aPut(
  facts: Partial<Subscription> = {},
  { tenant = 'default', runId = 'r1', revision = 1 } = {},
): SubscriptionChange & { readonly kind: 'put' } {
  const run = { tenant, runId };
  return { kind: 'put', run, shard: shardOf(run), subscription: aSubscription(facts), revision };
}
