import { parse } from 'yaml';
import { isRecord, type JsonRecord, recordIn } from '../../src/core/json.ts';
import { commandArgs } from '../../src/operator/command.ts';
import { executorPodName, PodGenerator } from '../../src/airflow/pod-generator.ts';
import { constructPod } from '../../src/operator/construct-pod.ts';
import { podOverrideIn, podTemplateFileIn } from '../../src/operator/executor-config.ts';
import { buildSelectorForK8sExecutorPod } from '../../src/airflow/pod-selectors.ts';
import { buildLabelsForK8sExecutorPod, type ExecutorPodIdentity } from '../../src/core/pod/executor-labels.ts';
import { getBasePodFromTemplate } from '../../src/airflow/pod-template.ts';
import { compareWithOracle, normalisedPod, type OracleCase } from './harness.ts';

const text = (value: unknown): string | undefined => {
  if (value === null || value === undefined) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
};
const items = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const record = (value: unknown): JsonRecord | undefined => (isRecord(value) ? value : undefined);
/** `{"$pod": …}` stands for a typed pod. */
const untyped = (value: unknown): unknown => {
  if (!isRecord(value)) return value;
  if ('$pod' in value) return value['$pod'];
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, untyped(one)]));
};
const pinned =
  ({ input }: OracleCase) =>
  (): string =>
    text(recordIn(input, 'pinned')['rand']) ?? 'x7k2m9qz';

function identity(input: JsonRecord): ExecutorPodIdentity {
  return {
    dagId: text(input['dag_id']) ?? '',
    taskId: text(input['task_id']) ?? '',
    runId: text(input['run_id']) ?? null,
    tryNumber: Number(input['try_number']),
    mapIndex: Number(input['map_index'] ?? -1),
    owner: text(input['airflow_worker'] ?? input['scheduler_job_id']),
    logicalDate: text(input['logical_date'] ?? input['date']),
  };
}

function construct(theCase: OracleCase): unknown {
  const { input } = theCase;
  return {
    pod: constructPod({
      ...identity(input),
      podId: text(input['pod_id']) ?? '',
      namespace: text(input['namespace']) ?? '',
      kubeImage: text(input['kube_image']),
      args: Array.isArray(input['args']) ? input['args'].map(String) : [],
      podOverride: untyped(input['pod_override_object']),
      baseWorkerPod: record(untyped(input['base_worker_pod'])),
      random: pinned(theCase),
    }),
  };
}

function request(theCase: OracleCase): unknown {
  const { input } = theCase;
  const job = recordIn(input, 'job');
  const config = recordIn(input, 'kube_config');
  const files = recordIn(input, 'files');
  const [dagId, taskId, runId, tryNumber, mapIndex] = items(job['key']);
  const command = items(job['command']);
  const key = { dagId: text(dagId) ?? '', taskId: text(taskId) ?? '' };
  return {
    pod: constructPod({
      ...key,
      runId: text(runId) ?? null,
      tryNumber: Number(tryNumber),
      mapIndex: Number(mapIndex),
      owner: text(input['scheduler_job_id']),
      podId: executorPodName(key, pinned(theCase)),
      namespace: text(config['kube_namespace']) ?? '',
      kubeImage: text(job['kube_image']) ?? text(config['kube_image']),
      args: commandArgs(command),
      podOverride: untyped(job['pod_override']),
      baseWorkerPod: getBasePodFromTemplate(
        text(job['pod_template_file']),
        { podTemplateFile: text(config['pod_template_file']) ?? '' },
        { files: (path) => text(files[path]) },
      ),
      random: pinned(theCase),
    }),
  };
}

function answer(theCase: OracleCase): unknown {
  const { input } = theCase;
  switch (input['function']) {
    case 'construct_pod':
      return construct(theCase);
    case 'build_pod_request':
      return request(theCase);
    case 'build_labels_for_k8s_executor_pod':
      return buildLabelsForK8sExecutorPod(identity(input));
    case 'build_selector_for_k8s_executor_pod':
      return buildSelectorForK8sExecutorPod(identity(input));
    case 'from_obj': {
      const obj = untyped(input['obj']);
      podTemplateFileIn(obj);
      return podOverrideIn(obj);
    }
    case 'PodGenerator': {
      const file = text(input['pod_template_file']);
      const template = file === undefined ? undefined : record(parse(text(recordIn(input, 'files')[file]) ?? ''));
      return new PodGenerator({ pod: record(untyped(input['pod'])), template }).pod;
    }
    default:
      throw new Error(`no adapter for ${text(input['function']) ?? ''}`);
  }
}

const normalised = (output: unknown): unknown => {
  if (isRecord(output) && 'pod' in output)
    return { pod: normalisedPod({ apiVersion: 'v1', kind: 'Pod', ...recordIn(output, 'pod') }) };
  if (isRecord(output) && 'airflow_version' in output) return { ...output, airflow_version: undefined };
  return output;
};

const podOf = (output: unknown): JsonRecord => recordIn(output, 'pod');

compareWithOracle('construct-pod', {
  answer,
  theirs: normalised,
  ours: normalised,
  rules: [
    {
      reason: 'a pod without a restart policy gets Never: Kubernetes would run the task again',
      when: ({ input, theirs }) =>
        ['construct_pod', 'build_pod_request'].includes(String(input['function'])) &&
        'output' in theirs &&
        !('restartPolicy' in recordIn(podOf(theirs.output), 'spec')),
      instead: (theirs) => {
        if (!('output' in theirs)) return theirs;
        const pod = podOf(normalised(theirs.output));
        return { output: { pod: { ...pod, spec: { ...recordIn(pod, 'spec'), restartPolicy: 'Never' } } } };
      },
    },
  ],
});
