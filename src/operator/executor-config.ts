/** Reads a task's `executorConfig`: the pod override, and the name of a pod template. */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { ReentryError } from '../errors.ts';
import { podProblem } from './construct-pod.ts';
import { KubernetesExecutorConfig, legacyPod } from './kubernetes-executor-config.ts';

const refused = (message: string): ReentryError =>
  new ReentryError('CONFIG_INVALID', message, {
    transient: false,
    problems: [{ path: 'executorConfig', message }],
  });

/**
 * The pod override in a task's `executorConfig`; `undefined` when it has none. The form of Airflow 1.10 (`KubernetesExecutor: {…}`, or a
 * `KubernetesExecutorConfig`) is converted. A bare pod is refused: it would have no effect.
 * @throws ReentryError CONFIG_INVALID
 */
export function podOverrideIn(executorConfig: unknown): JsonRecord | undefined {
  if (executorConfig === undefined || executorConfig === null) return undefined;
  if (executorConfig instanceof KubernetesExecutorConfig) return legacyPod(executorConfig);
  if (!isRecord(executorConfig)) throw refused('the executor config is not an object');
  const known = ['pod_override', 'podOverride', 'pod_template_file', 'podTemplateFile', 'KubernetesExecutor'];
  if (podProblem(executorConfig) === undefined && ('spec' in executorConfig || 'metadata' in executorConfig))
    throw refused('the executor config is a pod; put it under "podOverride"');
  const override = executorConfig['podOverride'] ?? executorConfig['pod_override'];
  const legacy = executorConfig['KubernetesExecutor'];
  const isSet = (value: unknown): boolean =>
    value !== undefined && value !== null && !(isRecord(value) && Object.keys(value).length === 0);
  if (isSet(override) && isSet(legacy))
    throw refused(`"podOverride" and "KubernetesExecutor" exclude each other (known: ${known.join(', ')})`);
  if (isSet(legacy)) return legacyPod(KubernetesExecutorConfig.fromDict(executorConfig));
  if (override === undefined || override === null) return undefined;
  const problem = podProblem(override);
  if (problem !== undefined || !isRecord(override)) throw refused(`"podOverride" ${problem ?? 'is not an object'}`);
  return override;
}

/** The pod template that a task's `executorConfig` names; `undefined` when it names none. @throws ReentryError CONFIG_INVALID when it is not a string */
export function podTemplateFileIn(executorConfig: unknown): string | undefined {
  if (!isRecord(executorConfig)) return undefined;
  const file = executorConfig['podTemplateFile'] ?? executorConfig['pod_template_file'];
  if (file === undefined || file === null || file === '') return undefined;
  if (typeof file !== 'string') throw refused('"podTemplateFile" is not a string');
  return file;
}
