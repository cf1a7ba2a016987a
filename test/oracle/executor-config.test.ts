import { recordIn } from '../../src/core/json.ts';
import { MAX_POD_NAME } from '../../src/core/pod/names.ts';
import { KubeConfig } from '../../src/airflow/kube-config.ts';
import { EXECUTOR_OPTIONS, type ExecutorOption } from '../../src/airflow/executor-options.ts';
import { TUNING } from '../../src/kubernetes/settings.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const optionsOf = ({ input }: OracleCase): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(recordIn(input, 'options')).map(([name, value]) => [name, textOf(value)]));
const optionCalled = (name: unknown): ExecutorOption | undefined =>
  Object.entries(EXECUTOR_OPTIONS).find(([key]) => key === name)?.[1];

/** The default as a value: Airflow writes some of them as text, some as numbers. */
const defaultOf = (value: unknown): unknown => {
  if (typeof value !== 'string' || value === '') return value;
  return /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value.toLowerCase().replaceAll(', ', ',');
};

function answer(theCase: OracleCase): unknown {
  const { input } = theCase;
  if (typeof input['constant'] === 'string') {
    if (input['constant'] === 'POD_NAME_MAX_LENGTH') return MAX_POD_NAME;
    return TUNING.unaryMs / 1000;
  }
  if (typeof input['option'] === 'string')
    return { default: defaultOf(optionCalled(input['option'])?.default ?? null) };
  const config = new KubeConfig((_section, name) => optionsOf(theCase)[name]);
  return {
    async_pod_creation: config.asyncPodCreation,
    delete_option_kwargs: config.deleteOptionKwargs,
    delete_worker_pods: config.deleteWorkerPods,
    delete_worker_pods_on_failure: config.deleteWorkerPodsOnFailure,
    executor_namespace: config.executorNamespace,
    kube_client_request_args: config.kubeClientRequestArgs,
    kube_image: config.kubeImage ?? null,
    kube_namespace: config.kubeNamespace,
    multi_namespace_mode: config.multiNamespaceMode,
    multi_namespace_mode_namespace_list: config.multiNamespaceModeNamespaceList ?? null,
    parallelism: config.parallelism,
    pod_creation_max_concurrency: config.podCreationMaxConcurrency,
    pod_template_file: config.podTemplateFile,
    worker_container_repository: config.workerContainerRepository,
    worker_container_tag: config.workerContainerTag,
    worker_pod_pending_fatal_container_state_reasons: config.workerPodPendingFatalContainerStateReasons,
    worker_pods_creation_batch_size: config.workerPodsCreationBatchSize,
  };
}

const list = (theCase: OracleCase, name: string): readonly string[] => optionsOf(theCase)[name]?.split(',') ?? [];
const NAMESPACES = 'multi_namespace_mode_namespace_list';
const REASONS = 'worker_pod_pending_fatal_container_state_reasons';

compareWithOracle('executor-config', {
  answer,
  theirs: (output, { input }) =>
    'option' in input ? { default: defaultOf(recordIn({ output }, 'output')['default']) } : output,
  rules: [
    {
      reason: 'the connection sets the deadlines: 30 s for a call, none for streams',
      when: ({ input }) => String(input['constant']).startsWith('API_TIMEOUT'),
    },
    {
      reason: 'deferring is the default here',
      when: ({ input }) => input['option'] === 'default_deferrable',
    },
    {
      reason: 'names in lists are trimmed and blank ones dropped: no namespace or reason has an empty name',
      when: (theCase) =>
        [NAMESPACES, REASONS].some((name) => list(theCase, name).some((one) => one.trim() !== one || one === '')),
      instead: (theirs, theCase) => {
        if (!('output' in theirs)) return theirs;
        const output = recordIn(theirs, 'output');
        const clean = (value: unknown): unknown =>
          Array.isArray(value) ? value.map((one) => String(one).trim()).filter((one) => one !== '') : value;
        const namespaces = clean(output[NAMESPACES]);
        if (Array.isArray(namespaces) && namespaces.length === 0 && optionsOf(theCase)[NAMESPACES] !== '')
          return { error: 'refused' };
        return { output: { ...output, [NAMESPACES]: namespaces, [REASONS]: clean(output[REASONS]) } };
      },
    },
    {
      reason: 'numbers with which no pod would ever be created are refused, and so are negative limits',
      when: (theCase) =>
        Number(optionsOf(theCase)['worker_pods_creation_batch_size'] ?? 1) < 1 ||
        Number(optionsOf(theCase)['pod_creation_max_concurrency'] ?? 0) < 0,
      instead: () => ({ error: 'refused' }),
    },
    {
      reason: 'an option of deletions that is not a grace period is refused rather than ignored',
      when: (theCase) => /"(?!grace_period_seconds)[a-z_]+":/.test(optionsOf(theCase)['delete_option_kwargs'] ?? ''),
      instead: () => ({ error: 'refused' }),
    },
  ],
});
