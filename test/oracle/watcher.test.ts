import { z } from 'zod';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { KubernetesJobWatcher } from '../../src/airflow/kubernetes-job-watcher.ts';
import type { FailureDetails, KubernetesWatch } from '../../src/airflow/records.ts';
import { TaskQueue } from '../../src/airflow/task-queue.ts';
import { annotationsToKey } from '../../src/airflow/task-key.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

const detailsOf = (details: FailureDetails | undefined): JsonRecord | null =>
  details === undefined
    ? null
    : withoutNulls({
        pod_status: details.podStatus,
        pod_reason: details.podReason,
        pod_message: details.podMessage,
        container_state: details.containerState,
        container_reason: details.containerReason,
        container_message: details.containerMessage,
        exit_code: details.exitCode,
        container_type: details.containerType,
        container_name: details.containerName,
      });

const withoutNulls = (fields: JsonRecord): JsonRecord =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

const queued = (watch: KubernetesWatch): JsonRecord => ({
  pod_name: watch.podName,
  namespace: watch.namespace,
  state: watch.state,
  annotations: watch.annotations,
  resource_version: watch.resourceVersion,
  failure_details: detailsOf(watch.failureDetails),
});

const reasons = z.array(z.string());

async function answer({ input }: OracleCase): Promise<unknown> {
  if (input['function'] === 'process_watcher_task') {
    const task = recordIn(input, 'task');
    const annotations = Object.fromEntries(
      Object.entries(recordIn(task, 'annotations')).map(([key, value]) => [
        key,
        typeof value === 'string' ? value : null,
      ]),
    );
    const key = annotationsToKey(annotations);
    if (key === undefined) return { results: [] };
    const rest = Object.fromEntries(Object.entries(task).filter(([name]) => name !== 'annotations'));
    return { results: [{ ...rest, key: [key.dagId, key.taskId, key.runId, key.tryNumber, key.mapIndex] }] };
  }
  const watcherQueue = new TaskQueue<KubernetesWatch>();
  const config = recordIn(input, 'kube_config');
  const watcher = new KubernetesJobWatcher('ns', watcherQueue, '0', '7', {
    workerPodPendingFatalContainerStateReasons: reasons.parse(
      config['worker_pod_pending_fatal_container_state_reasons'] ?? [],
    ),
  });
  const events = recordsIn(input, 'events').map((event) => ({
    type: textIn(event, 'type') ?? '',
    object: recordIn(event, 'object'),
  }));
  let raised: string | undefined;
  let version: string | undefined;
  try {
    version = await watcher.runOnce(events);
  } catch (error) {
    raised = error instanceof Error ? error.name : 'unknown';
  }
  const queue: JsonRecord[] = [];
  for (let one = watcherQueue.tryGet(); one !== undefined; one = watcherQueue.tryGet()) queue.push(queued(one));
  return { queue, resource_version: version ?? null, ...(raised === undefined ? {} : { raised: 'error' }) };
}

/** Exceptions with which Airflow's watcher process ends on purpose; all others are crashes. */
const MEANT: ReadonlySet<unknown> = new Set(['AirflowException', 'ApiException']);
const crashed = ({ theirs }: OracleCase): boolean =>
  'output' in theirs && 'raised' in recordIn(theirs, 'output') && !MEANT.has(recordIn(theirs, 'output')['raised']);

const metadataOf = (event: JsonRecord): JsonRecord => recordIn(recordIn(event, 'object'), 'metadata');
const annotationsOf = (event: JsonRecord): JsonRecord => recordIn(metadataOf(event), 'annotations');
const eventsOf = ({ input }: OracleCase): readonly JsonRecord[] => recordsIn(input, 'events');

const isNameless = (event: JsonRecord): boolean => {
  const { dag_id: dag, task_id: task, run_id: run, logical_date: date, try_number: tries } = annotationsOf(event);
  const map = annotationsOf(event)['map_index'];
  const number = (value: unknown): boolean => typeof value === 'string' && /^\s*[+-]?\d+\s*$/.test(value);
  return !dag || !task || !(run || date) || !number(tries) || (map !== undefined && map !== '' && !number(map));
};

compareWithOracle('watcher', {
  answer,
  theirs: (output) => {
    if (!isRecord(output) || !('queue' in output)) return output;
    return {
      ...output,
      queue: recordsIn(output, 'queue').map((one) => ({
        ...one,
        annotations: withoutNulls(recordIn(one, 'annotations')),
        failure_details: isRecord(one['failure_details']) ? withoutNulls(one['failure_details']) : null,
      })),
      ...(output['raised'] === undefined ? {} : { raised: MEANT.has(output['raised']) ? 'error' : 'crash' }),
    };
  },
  rules: [
    {
      reason: 'Airflow’s watcher process crashes on this pod; ours counts it and continues',
      when: crashed,
    },
    {
      reason: 'a pod that names no task (no dag, task, try or run) is counted and skipped, whatever its phase',
      when: (theCase) => eventsOf(theCase).some(isNameless),
      instead: (theirs, theCase) => ({
        output: {
          ...recordIn(theirs, 'output'),
          queue: recordsIn(recordIn(theirs, 'output'), 'queue').filter(
            (one) =>
              !eventsOf(theCase).some((event) => isNameless(event) && metadataOf(event)['name'] === one['pod_name']),
          ),
        },
      }),
    },
    {
      reason: 'a blank reason cannot be a fatal reason',
      when: ({ input }) =>
        reasons
          .parse(recordIn(input, 'kube_config')['worker_pod_pending_fatal_container_state_reasons'] ?? [])
          .includes(''),
      instead: (theirs) => ({ output: { ...recordIn(theirs, 'output'), queue: [] } }),
    },
  ],
});
