import {
  defer,
  delay,
  endWith,
  filter,
  from,
  ignoreElements,
  merge,
  type Observable,
  share,
  takeUntil,
  tap,
} from 'rxjs';
import type { PodRef } from '../core/pod/projection.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { TriggererBroker } from '../ports/broker.ts';
import type { Clusters } from '../ports/cluster.ts';
import type { Work } from '../run.ts';
import type { TriggerMessage } from '../trigger/firing.ts';
import { answers$, connectionGauge$, gauges$ } from '../trigger/gauges.ts';
import { heartbeatFacts, triggererHealth, type TriggererHealth } from '../trigger/health.ts';
import { orphanReports$, Orphans, type OrphanOptions } from '../trigger/orphans.ts';
import { Ownership, takenOverShards$ } from '../trigger/ownership.ts';
import { published$ } from '../trigger/publish.ts';
import { triggerEvents$ } from '../trigger/trigger-events.ts';
import { type TriggerSettings, TriggerState } from '../trigger/trigger-state.ts';
import { Progress } from '../worker/progress.ts';
import { WatchedPods, watchedPods$, watchScopes } from '../trigger/watched-pods.ts';

/** Settings of one triggerer. */
export interface TriggererSettings extends TriggerSettings, Omit<OrphanOptions, 'log' | 'meter'> {
  /** Version of the program, for `doctor`. */
  readonly version?: string | undefined;
  /** This replica's id, unique among those alive. */
  readonly id: string;
  readonly installation: string;
  /** Namespaces to watch, in every connection; undefined: all of them by one watch. */
  readonly namespaces: readonly string[] | undefined;
}

/** What a triggerer needs. */
export interface TriggererDeps {
  readonly broker: TriggererBroker;
  readonly clusters: Clusters;
  readonly settings: TriggererSettings;
  readonly log: Log;
  readonly meter: Meter;
}

/** A triggerer's work, and how it is. */
export type Triggerer = Work & { readonly health: () => TriggererHealth };

/** What is still unsent this long after the hand-over is left to the other replicas, which fire it themselves. */
const LAST_MESSAGES_MS = 200;

/**
 * Watches the pods of the installation and publishes to the workers which runs may go on. Many run at a time; each acts on its shards.
 *
 * Start: watches, subscriptions and membership begin together (a subscription is looked at again when its watch is synced); acting early on
 * what is known is right for a level. Stop: goodbye, acting until the others have taken over, then the last messages go out.
 */
export function triggerer({ broker, clusters, settings, log, meter }: TriggererDeps): Triggerer {
  const now = (): number => broker.now();
  const since = now();
  const scopes = watchScopes(clusters.names, settings.namespaces);
  const pods = new WatchedPods(scopes);
  const ownership = new Ownership();
  const state = new TriggerState(pods, ownership, since, settings);
  const orphans = new Orphans(ownership, state.waits, since, { ...settings, log, meter });
  const unsent = new Map<string, TriggerMessage>();
  const progress = new Progress();
  let loopDelay = { p50: 0, p99: 0 };
  const health = () =>
    triggererHealth({ pods, ownership, state, loopDelay, unsent: unsent.size, stuck: progress.stuck, now: now() });
  const findPod$ = (pod: PodRef) => {
    meter.count('absence_checks_total');
    return from(clusters.get(pod.connection).findPod(pod));
  };
  let echoAt: number | undefined;
  const measured = (measurement: typeof loopDelay): void => {
    loopDelay = measurement;
    if (ownership.lastEchoAt !== echoAt) progress.turned('its own heartbeat');
    echoAt = ownership.lastEchoAt;
  };

  const work$ = (stop$: Observable<unknown>): Observable<never> =>
    defer(() => {
      const { membership } = broker;
      const connected$ = broker.connected$.pipe(
        tap((isConnected) => {
          progress.connected(isConnected);
        }),
      );
      const facts = () => heartbeatFacts(health(), since);
      const inputs = { me: settings.id, membership, connected$, stop$, now, facts, log, meter };
      const shardsTakenOver$ = takenOverShards$(ownership, inputs).pipe(progress.endless('the membership'), share());
      const left$ = shardsTakenOver$.pipe(ignoreElements(), endWith(true), share());
      const clusterOf = (connection: string) => clusters.get(connection);
      const pods$ = watchedPods$(scopes, clusterOf, settings.installation, pods, { now, meter }).pipe(
        progress.endless('the watch of pods'),
        share(),
      );
      const subscriptions$ = broker.subscriptions
        .changes$(settings.id)
        .pipe(progress.endless('the watch of subscriptions'));
      const messages$ = merge(
        orphanReports$(orphans, { pods$, pods, waits: state.waits, isComplete: () => state.isComplete, now }),
        triggerEvents$({ subscriptions$, pods$, shardsTakenOver$ }, state, { now, findPod$ }).pipe(
          filter((effect) => effect.kind === 'fire'),
        ),
      ).pipe(takeUntil(left$));
      const failed = state.unpublished.bind(state);
      return merge(
        progress.stopping$(stop$),
        published$(messages$, { publish: broker.publish, failed, now, log, meter, unsent }).pipe(
          takeUntil(left$.pipe(delay(LAST_MESSAGES_MS))),
        ),
        merge(
          gauges$({ state, health, meter }, { connections: clusters.names, since, now, measured }),
          connectionGauge$(connected$, { state, meter }, now).pipe(progress.endless('the connection to NATS')),
          answers$(broker, { state, health }, settings).pipe(progress.endless('the answers')),
        ).pipe(takeUntil(left$)),
      );
    });
  return Object.assign(work$, { health });
}
