/** The logs of a step: what the requested containers wrote, and for a failed attempt the pod's events and manifest. */
import { recordIn, textIn } from '../../core/json.ts';
import { formatNanos } from '../../core/log/cursor.ts';
import { redactedManifest } from '../../core/pod/manifest.ts';
import { type ContainerProjection, type PodProjection, podRef, type PodRef } from '../../core/pod/projection.ts';
import { XCOM } from '../../core/pod/xcom-sidecar.ts';
import type { Log } from '../../ports/ambient.ts';
import type { LiveChunk } from '../../ports/broker.ts';
import type { Manifest, PodEventLine } from '../../ports/cluster.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';
import type { PodParams } from '../pod-params.ts';
import type { PodStep } from '../pod-step.ts';
import { repeatRead } from '../unread.ts';
import { followContainers } from './live.ts';
import { storeContainerLog } from './reader.ts';
import { storeStartupEvents } from './startup-events.ts';

/** Log of a failed attempt's events; no container can have this name. */
const EVENTS_LOG = 'pod.events';
/** Log of a failed attempt's manifest; no container can have this name. */
const SPEC_LOG = 'pod.spec';

/** `containerLogs` and `initContainerLogs`: `true` for all, or names. */
type RequestedContainers = boolean | string | readonly string[] | null | undefined;

/** Logs stored by one step. `cursors`: where each container's log has been read to. `complete`: false when a log could not be read to its end. */
export interface LogsRead {
  readonly cursors: Readonly<Record<string, string>>;
  readonly gaps: number;
  readonly complete: boolean;
}

/** As Airflow: no container requested is the base container. */
const isNone = (requested: RequestedContainers): boolean =>
  requested === undefined ||
  requested === null ||
  requested === '' ||
  (Array.isArray(requested) && requested.length === 0);

/** The containers whose logs the run requests, in the order of the pod; warns of names that the pod does not have. */
function requestedContainers(
  { initContainerLogs, containerLogs }: PodParams,
  pod: PodProjection,
  log: Log,
): readonly ContainerProjection[] {
  const inits = namesOf(initContainerLogs);
  const mains = namesOf(isNone(containerLogs) ? pod.baseContainer : containerLogs);
  const absent = [...inits, ...mains].filter((name) => pod.containers.every((one) => one.name !== name));
  if (absent.length > 0)
    log.warn({ pod: pod.name, containers: absent }, 'logs were requested of containers that the pod does not have');
  return pod.containers.filter(({ name, kind }) => {
    const isInit = (initContainerLogs === true && name !== XCOM.container) || inits.includes(name);
    const isMain = (containerLogs === true && name !== XCOM.container) || mains.includes(name);
    return (isInit && kind !== 'main') || (isMain && kind !== 'init');
  });
}

const namesOf = (requested: RequestedContainers): readonly string[] =>
  typeof requested === 'boolean' ? [] : [requested ?? []].flat().filter((name) => name !== '');

/**
 * Whether readers see `[container]` before each line: Airflow's `container_name_log_prefix_enabled`, where the log is of several containers and no
 * formatter made its lines. What is stored is the container's own text either way.
 */
export function namesContainers(params: PodParams): boolean {
  const { containerNameLogPrefixEnabled, logFormatter, containerLogs, initContainerLogs } = params;
  const count = (requested: RequestedContainers, byDefault: number): number => {
    if (isNone(requested)) return byDefault;
    return requested === true ? Infinity : new Set(namesOf(requested)).size;
  };
  const isPlain = typeof logFormatter !== 'string';
  return containerNameLogPrefixEnabled && isPlain && count(containerLogs, 1) + count(initContainerLogs, 0) > 1;
}

/**
 * Stores what the requested containers have written since the last step, and the events of a slow or failed start. `repeatMs`: how long a read that fails
 * for now is repeated; 0: it is left to a later step.
 * @throws UnreadError for a read that is repeated
 */
export async function storeLogs(step: PodStep, pod: PodProjection, repeatMs: number): Promise<LogsRead> {
  const { context, params, cluster, callbacks, format } = step;
  const { run, logs: store, log } = context;
  const { cursors: before = {}, attempt } = context.state;
  const cursors: Record<string, string> = { ...(await storeStartupEvents(step, pod, before)) };
  let gaps = 0;
  let complete = true;
  const ref = podRef(pod);
  for (const { name, state, restartCount } of params.getLogs ? requestedContainers(params, pod, log) : []) {
    // One that never started has no log; one that waits for its restart has.
    if (state === 'waiting' && restartCount === 0) continue;
    const reading = await storeContainerLog({
      ...{ cluster, pod: ref, container: name, run, attempt, store, log, format, restartCount },
      cursor: before[name],
      onLine: callbacks?.calls.progressOf(cluster, ref, name),
    });
    if (reading.cursor !== undefined) cursors[name] = reading.cursor;
    gaps += reading.gaps;
    if (reading.failure === undefined) continue;
    const logGaps = gaps + (context.state.logGaps ?? 0);
    repeatRead({ ...context, state: { ...context.state, logGaps } }, reading.failure, repeatMs);
    complete = false;
  }
  return { cursors, gaps, complete };
}

/** Publishes what the requested containers of a run's pod write from now on, until they end or `signal` aborts. */
export async function followPodLogs(
  { context, params, cluster, format }: PodStep,
  ref: PodRef,
  publish: (chunk: LiveChunk) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { run, state, logs, log } = context;
  const pod = params.getLogs ? await cluster.findPod(ref) : undefined;
  if (pod === undefined) return;
  const { attempt, cursors = {} } = state;
  await followContainers(
    { cluster, pod: podRef(pod), run, attempt, logs, cursors, log, signal, format, publish },
    Array.from(requestedContainers(params, pod, log), ({ name }) => name),
  );
}

const stateText = ({ name, state, exitCode, reason, message }: ContainerProjection): string =>
  [`container ${name} ${state}`, exitCode === undefined ? '' : `exit code ${exitCode}`, reason ?? '', message ?? '']
    .filter((part) => part !== '')
    .join(', ');

/** Container states and pod events, one line each, newest last. */
function eventLines(pod: PodProjection, events: readonly PodEventLine[]): readonly string[] {
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
 * Airflow's `log_events_on_failure` and `log_pod_spec_on_failure`: stored once per failed attempt as logs of their own names, apart from the containers'
 * logs. Environment values are redacted. Never fails the run.
 */
export async function storeFailure(
  step: PodStep,
  pod: PodProjection,
  events: readonly PodEventLine[] | undefined,
): Promise<void> {
  const { context, params } = step;
  if (events !== undefined) {
    for (const { type, reason, message } of events)
      context.log[type === 'Warning' ? 'warn' : 'info']({ pod: pod.name, reason }, message);
    if (params.logEventsOnFailure) await storeLines(step, EVENTS_LOG, eventLines(pod, events));
  }
  if (!params.logPodSpecOnFailure || !params.getLogs) return;
  const manifest = await readManifest(step, pod);
  if (manifest !== undefined) await storeLines(step, SPEC_LOG, specLines(manifest));
}

/** The API's object; `undefined` where it is gone or cannot be read. */
async function readManifest({ cluster, context }: PodStep, ref: PodRef): Promise<Manifest | undefined> {
  try {
    const found = await cluster.getPod(ref.namespace, ref.name);
    return textIn(found?.['metadata'], 'uid') === ref.uid ? found : undefined;
  } catch (error) {
    context.log.warn({ pod: ref.name, err: error }, 'the pod could not be read');
    return undefined;
  }
}

function specLines(manifest: Manifest): readonly string[] {
  const shown = redactedManifest(manifest);
  const metadata = { ...recordIn(shown, 'metadata'), managedFields: undefined };
  return JSON.stringify({ ...shown, metadata }, undefined, 1).split('\n');
}

/** Stores lines of ours as a log of its own, once per attempt. */
async function storeLines({ context }: PodStep, name: string, lines: readonly string[]): Promise<void> {
  const { logs, run, state, log, now } = context;
  const nanos = BigInt(Math.round(now())) * 1_000_000n;
  const stamp = formatNanos(nanos);
  let text = lines.map((line) => `${stamp} ${line}\n`).join('');
  if (Buffer.byteLength(text) > MAX_LOG_CHUNK_BYTES) text = `${text.slice(0, MAX_LOG_CHUNK_BYTES / 4)}…\n`;
  try {
    await logs.append(run, state.attempt, name, { text, to: { nanos, lines: lines.length } }, 0);
  } catch (error) {
    log.warn({ log: name, err: error }, 'the log of a failed attempt could not be stored');
  }
}
