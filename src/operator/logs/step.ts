/** What a step puts into the run's log: what the wanted containers wrote, and of a failure the pod's events and manifest. */
import { recordIn } from '../../core/json.ts';
import { redactedManifest } from '../../core/pod/manifest.ts';
import type { ContainerProjection, PodProjection } from '../../core/pod/projection.ts';
import type { Log } from '../../ports/ambient.ts';
import type { Manifest, PodEventLine } from '../../ports/cluster.ts';
import { refOf } from '../deferral.ts';
import type { PodParams } from '../pod-params.ts';
import type { PodStep } from '../pod-step.ts';
import { storeStart } from './startup-events.ts';
import { type LogsRead, type RequestedContainers, requestedContainers } from '../run-pods.ts';

/** Names that no container can have: the log of a failed attempt's events, and of its manifest. */
export const EVENTS_LOG = 'pod.events';
export const SPEC_LOG = 'pod.spec';

/** The containers whose logs the run wants, in the order wanted; a name that the pod does not have is said in the worker's log. */
export function wantedContainers(
  { initContainerLogs, containerLogs }: PodParams,
  pod: PodProjection,
  log: Log,
): readonly ContainerProjection[] {
  const of = (kinds: readonly ContainerProjection['kind'][]) =>
    pod.containers.filter(({ kind }) => kinds.includes(kind));
  const asked = [initContainerLogs, containerLogs].flatMap((names) =>
    typeof names === 'boolean' ? [] : (names ?? []),
  );
  const absent = asked.filter((name) => pod.containers.every((one) => one.name !== name));
  if (absent.length > 0)
    log.warn({ pod: pod.name, containers: absent }, 'logs of containers that the pod does not have');
  const wanted = [
    ...requestedContainers(initContainerLogs, of(['init', 'sidecar'])),
    ...requestedContainers(containerLogs ?? pod.baseContainer, of(['main', 'sidecar'])),
  ];
  return [...new Set(wanted)];
}

/**
 * Whether readers are shown `[container]` before each line: the seed's `container_name_log_prefix_enabled`, where the log is of several
 * containers and no formatter made its lines. What is stored is the container's own text either way. @see spec pod-operator §6.5
 */
export function namesContainers(params: PodParams): boolean {
  const { containerNameLogPrefixEnabled, logFormatter, containerLogs, initContainerLogs } = params;
  const names = (wanted: RequestedContainers, otherwise: number): number => {
    if (wanted === true) return Infinity;
    if (typeof wanted === 'string') return wanted === '' ? 0 : 1;
    return wanted === undefined || wanted === null ? otherwise : wanted === false ? 0 : new Set(wanted).size;
  };
  const isPlain = typeof logFormatter !== 'string';
  return containerNameLogPrefixEnabled && isPlain && names(containerLogs, 1) + names(initContainerLogs, 0) > 1;
}

/** Stores what the wanted containers have written since the last step, and what there is to tell of the pod's start. @see spec pod-operator §6.6 */
export async function readLogs(step: PodStep, pod: PodProjection): Promise<LogsRead> {
  const { context, params, cluster, pods, callbacks, format } = step;
  const { cursors = {}, attempt } = context.state;
  const told = await storeStart(step, pod, cursors);
  if (!params.getLogs) return { cursors: told, gaps: 0, complete: true };
  const ref = refOf(pod);
  return await pods.readLogs(ref, attempt, wantedContainers(params, pod, context.log), told, {
    onLine: (container) => callbacks.calls.progressOf(cluster, ref, container),
    format,
  });
}

const stateText = ({ name, state, exitCode, reason, message }: ContainerProjection): string =>
  [`container ${name} ${state}`, exitCode === undefined ? '' : `exit code ${exitCode}`, reason ?? '', message ?? '']
    .filter((part) => part !== '')
    .join(', ');

/** Container states and pod events, a line each, newest last. */
export function eventLines(pod: PodProjection, events: readonly PodEventLine[]): readonly string[] {
  const { phase, reason, containers } = pod;
  return [
    `pod ${pod.namespace}/${pod.name} ${phase}${reason === undefined ? '' : `, ${reason}`}`,
    ...containers.map(stateText),
    ...events
      .toSorted((a, b) => a.lastSeenAt - b.lastSeenAt)
      .map((event) => {
        const times = event.count > 1 ? ` (${event.count} times)` : '';
        return `${event.type} ${event.reason}: ${event.message}${times}`;
      }),
  ];
}

/**
 * The seed's `log_events_on_failure` and `log_pod_spec_on_failure`: of a failed attempt, stored once as logs of their own names, which
 * no reader of the containers' logs meets. Environment values are hidden. Never fails the run.
 */
export async function storeFailure(
  { context, params, pods }: PodStep,
  pod: PodProjection,
  events: readonly PodEventLine[] | undefined,
): Promise<void> {
  const { attempt } = context.state;
  if (events !== undefined) {
    for (const { type, reason, message } of events)
      context.log[type === 'Warning' ? 'warn' : 'info']({ pod: pod.name, reason }, message);
    if (params.logEventsOnFailure) await pods.storeNotes(attempt, EVENTS_LOG, eventLines(pod, events), context.now());
  }
  if (!params.logPodSpecOnFailure || !params.getLogs) return;
  const manifest = await pods.readManifest(pod);
  if (manifest !== undefined) await pods.storeNotes(attempt, SPEC_LOG, specLines(manifest), context.now());
}

function specLines(manifest: Manifest): readonly string[] {
  const shown = redactedManifest(manifest);
  const metadata = { ...recordIn(shown, 'metadata'), managedFields: undefined };
  return JSON.stringify({ ...shown, metadata }, undefined, 1).split('\n');
}
