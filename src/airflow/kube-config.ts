/** `KubeConfig` of Airflow's `kube_config`: the executor's configuration, parsed and checked once. */
import { ReentryError, type Problem } from '../errors.ts';
import {
  EXECUTOR_OPTIONS,
  type ExecutorOption,
  type OptionName,
  type ParsedOption,
  readBoolean,
  readInteger,
  readJson,
  readList,
  readSeconds,
} from './executor-options.ts';
import { legacyProblems, type LegacyOptions, securityContextValue } from './legacy.ts';

/** Looks up an option's text by section and name, as in `airflow.cfg`; `undefined`: unset. */
export type ConfigSource = (section: string, name: string) => string | undefined;

/** Option texts by name, regardless of section; missing ones have their defaults. */
export type ExecutorOptions = Readonly<Partial<Record<OptionName, string>>>;

/**
 * The options of one team: `AIRFLOW__TEAM___SECTION__NAME` in `environment` overrides `fallback`.
 * @param team absent: `fallback` alone
 */
export function teamSource(
  fallback: ConfigSource,
  environment: Readonly<Record<string, string | undefined>>,
  team: string | undefined,
): ConfigSource {
  if (team === undefined) return fallback;
  return (section, name) =>
    environment[`AIRFLOW__${team}___${section}__${name}`.toUpperCase()] ?? fallback(section, name);
}

/** A source over options by name. */
export function optionSource(options: ExecutorOptions): ConfigSource {
  return (_section, name) => Object.entries(options).find(([key]) => key === name)?.[1];
}

/** A snapshot of the options at construction. Attributes are Airflow's in camelCase; times are in seconds. */
export class KubeConfig {
  static readonly coreSection = 'core';
  static readonly kubernetesSection = 'kubernetes_executor';
  static readonly loggingSection = 'logging';
  readonly coreSection = KubeConfig.coreSection;
  readonly kubernetesSection = KubeConfig.kubernetesSection;

  /** Number of slots. */
  readonly parallelism: number;
  readonly logsTaskMetadata: boolean;
  readonly runningPodLogLines: number;
  /** Empty: none. */
  readonly podTemplateFile: string;
  readonly workerContainerRepository: string;
  readonly workerContainerTag: string;
  /** `repository:tag` where both are set. */
  readonly kubeImage: string | undefined;
  readonly kubeNamespace: string;
  readonly executorNamespace: string;
  readonly deleteWorkerPods: boolean;
  readonly deleteWorkerPodsOnFailure: boolean;
  readonly workerPodPendingFatalContainerStateReasons: readonly string[];
  readonly workerPodsCreationBatchSize: number;
  readonly asyncPodCreation: boolean;
  /** 0: the batch size. */
  readonly podCreationMaxConcurrency: number;
  readonly multiNamespaceMode: boolean;
  /** `undefined`: one namespace, or all of them in multi-namespace mode. */
  readonly multiNamespaceModeNamespaceList: readonly string[] | undefined;
  readonly kubeClientRequestArgs: Readonly<Record<string, unknown>>;
  readonly deleteOptionKwargs: Readonly<Record<string, unknown>>;
  /** −1: unlimited. */
  readonly taskPublishMaxRetries: number;
  readonly podLaunchFailureRetries: number;
  readonly podLaunchFailureExcludedContainerReasons: readonly string[];
  readonly orphanedTasksCheckIntervalSeconds: number;
  readonly taskQueuedTimeoutSeconds: number;
  readonly taskQueuedTimeoutCheckIntervalSeconds: number;
  readonly numStuckInQueuedRetries: number;
  readonly workerPodsQueuedCheckIntervalSeconds: number;
  readonly workerPodsPendingTimeoutSeconds: number;
  /** Queue of this executor's tasks when there are several executors. */
  readonly kubernetesQueue: string;
  readonly workerPodsPendingTimeoutBatchSize: number;
  /** Options of Airflow 1.10, as given. */
  readonly legacy: LegacyOptions;

  /**
   * @param from options by name, or a lookup
   * @param legacy options of Airflow 1.10; checked by `validate`
   * @throws ReentryError CONFIG_INVALID naming every invalid option
   */
  constructor(from: ExecutorOptions | ConfigSource = {}, legacy: LegacyOptions = {}) {
    const reader = new OptionReader(typeof from === 'function' ? from : optionSource(from));
    this.parallelism = reader.integer('parallelism');
    this.logsTaskMetadata = reader.boolean('logs_task_metadata');
    this.runningPodLogLines = reader.integer('running_pod_log_lines');
    this.podTemplateFile = reader.text('pod_template_file');
    this.workerContainerRepository = reader.text('worker_container_repository');
    this.workerContainerTag = reader.text('worker_container_tag');
    this.kubeImage =
      this.workerContainerRepository === '' || this.workerContainerTag === ''
        ? undefined
        : `${this.workerContainerRepository}:${this.workerContainerTag}`;
    this.kubeNamespace = reader.text('namespace');
    this.executorNamespace = this.kubeNamespace;
    this.deleteWorkerPods = reader.boolean('delete_worker_pods');
    this.deleteWorkerPodsOnFailure = reader.boolean('delete_worker_pods_on_failure');
    this.workerPodPendingFatalContainerStateReasons = reader.list('worker_pod_pending_fatal_container_state_reasons');
    this.workerPodsCreationBatchSize = reader.integer('worker_pods_creation_batch_size');
    this.asyncPodCreation = reader.boolean('async_pod_creation');
    this.podCreationMaxConcurrency = reader.integer('pod_creation_max_concurrency');
    this.multiNamespaceMode = reader.boolean('multi_namespace_mode');
    const namespaces = reader.list('multi_namespace_mode_namespace_list');
    const given = reader.text('multi_namespace_mode_namespace_list');
    if (this.multiNamespaceMode && given !== '' && namespaces.length === 0)
      reader.refuse(
        'multi_namespace_mode_namespace_list',
        'lists no namespace; leave it empty to watch the whole cluster',
      );
    this.multiNamespaceModeNamespaceList = this.multiNamespaceMode && namespaces.length > 0 ? namespaces : undefined;
    this.kubeClientRequestArgs = reader.json('kube_client_request_args');
    this.deleteOptionKwargs = reader.json('delete_option_kwargs');
    this.taskPublishMaxRetries = reader.integer('task_publish_max_retries');
    this.podLaunchFailureRetries = reader.integer('pod_launch_failure_retries');
    this.podLaunchFailureExcludedContainerReasons = reader.list('pod_launch_failure_excluded_container_reasons');
    this.orphanedTasksCheckIntervalSeconds = reader.seconds('orphaned_tasks_check_interval');
    this.taskQueuedTimeoutSeconds = reader.seconds('task_queued_timeout');
    this.taskQueuedTimeoutCheckIntervalSeconds = reader.seconds('task_queued_timeout_check_interval');
    this.numStuckInQueuedRetries = reader.integer('num_stuck_in_queued_retries');
    this.workerPodsQueuedCheckIntervalSeconds = reader.seconds('worker_pods_queued_check_interval');
    this.kubernetesQueue = reader.text('kubernetes_queue');
    this.workerPodsPendingTimeoutSeconds = reader.seconds('worker_pods_pending_timeout');
    this.workerPodsPendingTimeoutBatchSize = reader.integer('worker_pods_pending_timeout_batch_size');
    this.legacy = legacy;
    reader.checkOthers();
    reader.end();
  }

  /**
   * Namespaces to watch and list; a single `undefined` stands for the whole cluster. Always includes the namespace where pods are created: their end
   * would go unnoticed otherwise.
   */
  get namespaces(): readonly (string | undefined)[] {
    if (!this.multiNamespaceMode) return [this.kubeNamespace];
    const listed = this.multiNamespaceModeNamespaceList;
    return listed === undefined ? [undefined] : [...new Set([...listed, this.kubeNamespace])];
  }

  /** Whether pods of `namespace` are watched. */
  watches(namespace: string): boolean {
    return this.namespaces.some((one) => one === undefined || one === namespace);
  }

  /** Grace period of deletions; `undefined`: the pod's own. */
  get deleteGracePeriodSeconds(): number | undefined {
    const seconds = this.deleteOptionKwargs['grace_period_seconds'] ?? this.deleteOptionKwargs['gracePeriodSeconds'];
    return typeof seconds === 'number' ? seconds : undefined;
  }

  /**
   * The user or group id that Airflow 1.10 gave to pods; `undefined` when unset, so that an explicit 0 stays root.
   * @throws ReentryError CONFIG_INVALID when the option is not a whole number
   */
  getSecurityContextVal(scontext: string): number | undefined {
    return securityContextValue(this.legacy, scontext);
  }

  /**
   * Checks the options of Airflow 1.10: dags need a source, and git exactly one kind of credentials. Skipped when a pod template is configured.
   * @throws ReentryError CONFIG_INVALID with every problem
   */
  validate(): void {
    if (this.podTemplateFile !== '') return;
    const problems = legacyProblems(this.legacy);
    if (problems.length > 0) throw invalid(problems);
  }
}

function invalid(problems: readonly Problem[]): ReentryError {
  const list = problems.map(({ path, message }) => `${path} ${message}`).join('; ');
  return new ReentryError('CONFIG_INVALID', `invalid executor configuration: ${list}`, { transient: false, problems });
}

/** Parses options and collects problems. */
class OptionReader {
  readonly #source: ConfigSource;
  readonly #problems: Problem[] = [];

  constructor(source: ConfigSource) {
    this.#source = source;
  }

  text(name: OptionName): string {
    const option: ExecutorOption = EXECUTOR_OPTIONS[name];
    return this.#source(option.section, name) ?? option.default ?? '';
  }

  boolean(name: OptionName): boolean {
    return this.#value(name, readBoolean(this.text(name)), false);
  }

  integer(name: OptionName): number {
    const option: ExecutorOption = EXECUTOR_OPTIONS[name];
    return this.#value(name, readInteger(this.text(name), option.least), 0);
  }

  seconds(name: OptionName): number {
    const option: ExecutorOption = EXECUTOR_OPTIONS[name];
    return this.#value(name, readSeconds(this.text(name), option.least), 0);
  }

  json(name: OptionName): Readonly<Record<string, unknown>> {
    return this.#value(name, readJson(this.text(name)), {});
  }

  list(name: OptionName): readonly string[] {
    return readList(this.text(name));
  }

  refuse(name: OptionName, message: string): void {
    this.#problems.push({ path: name, message });
  }

  /** Checks the options that have no effect, too, so that typos are found. */
  checkOthers(): void {
    for (const name of ['in_cluster', 'enable_tcp_keepalive', 'verify_ssl'] as const) this.boolean(name);
    for (const name of ['tcp_keep_idle', 'tcp_keep_intvl', 'tcp_keep_cnt'] as const) this.integer(name);
    this.json('api_client_retry_configuration');
    for (const name of ['client_factory', 'async_client_factory'] as const)
      if (this.text(name) !== '') this.refuse(name, 'would load code; pass a Cluster to the executor instead');
    const { grace_period_seconds: snake, gracePeriodSeconds: camel, ...others } = this.json('delete_option_kwargs');
    const grace = snake ?? camel ?? 0;
    if (typeof grace !== 'number' || !Number.isInteger(grace) || grace < 0)
      this.refuse('delete_option_kwargs', 'grace_period_seconds must be a whole number of seconds');
    for (const key of Object.keys(others))
      this.refuse('delete_option_kwargs', `"${key}" is not supported; known: grace_period_seconds`);
  }

  /** @throws ReentryError CONFIG_INVALID when any option was invalid */
  end(): void {
    const seen = new Set<string>();
    const problems = this.#problems.filter(({ path, message }) => {
      const known = seen.has(`${path} ${message}`);
      seen.add(`${path} ${message}`);
      return !known;
    });
    if (problems.length > 0) throw invalid(problems);
  }

  #value<T>(name: OptionName, read: ParsedOption<T>, otherwise: T): T {
    if ('value' in read) return read.value;
    this.refuse(name, read.problem);
    return otherwise;
  }
}
