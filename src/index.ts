/**
 * The package's public face. `connect` needs NATS only; what speaks to Kubernetes is loaded when it is first used.
 * A client alone can be imported from `reentry/client`.
 */
export { connect } from './client/index.ts';
export type {
  Client,
  ClientOptions,
  CompletedData,
  Diagnosis,
  Explanation,
  FinalState,
  LifecycleData,
  LogOptions,
  LogText,
  Phase,
  Receipt,
  RunPage,
  RunRequestInput,
  RunStatus,
  RunSubmission,
  StoredEvent,
  SubmitAllOptions,
  SubmitOptions,
  SubmissionResult,
} from './client/index.ts';
export { ReentryError } from './errors.ts';
export type { ErrorCode, Problem } from './errors.ts';
export { DIAGNOSES } from './core/run/diagnosis.ts';
export { KubernetesPodOperator } from './airflow/kubernetes-pod-operator.ts';
export type {
  KubernetesPodOperatorParams,
  PodEvent,
  TaskContext,
  TaskDeferred,
  TaskReturned,
} from './airflow/kubernetes-pod-operator-params.ts';
export { hookOf } from './airflow/pod-operator-hook-protocol.ts';
export type { PodOperatorHookProtocol } from './airflow/pod-operator-hook-protocol.ts';
export * from './airflow/exceptions.ts';
export { PodCommandException, XComRetrievalError } from './operator/xcom.ts';
export { genericApiRetry } from './airflow/api-retry.ts';
export { shouldRetryStartPod } from './airflow/api-retry.ts';
export type { PodLoggingStatus } from './airflow/pod-logs.ts';
export { parseLogLine } from './airflow/pod-logs.ts';
export {
  containerIsCompleted,
  containerIsRunning,
  containerIsSucceeded,
  containerIsTerminated,
  containerIsWait,
  getContainerStatus,
  getContainerTerminationMessage,
  PodEventType,
  PodPhase,
} from './airflow/containers.ts';
export { defineOperator, podOperator } from './operator/define-operator.ts';
export type { DefinedOperator, Deferral, Kwargs, OperatorDefinition, Task } from './operator/define-operator.ts';
export type { PodParamsInput } from './operator/pod-params.ts';
export { PodManager } from './airflow/pod-manager.ts';
export type { Operator, StepContext, StepFacts, StepOutcome } from './operator/operator.ts';
export { KubernetesPodTrigger } from './airflow/kubernetes-pod-trigger.ts';
export { openHook } from './process/open-hook.ts';
export type { HookOptions } from './process/open-hook.ts';
export { runWorker } from './process/run-worker.ts';
export type { RunWorkerOptions } from './process/run-worker.ts';
export { callbacksIn, ExecutionMode, KubernetesPodOperatorCallback } from './operator/callbacks.ts';
export type {
  CallbackRegistry,
  CallbackArgs,
  CallbackArgsByHook,
  PodCallbacks,
  PodArgs,
  ProgressArgs,
} from './operator/callbacks.ts';
export { alphanumLower } from './core/pod/names.ts';
export { KUBE_CONFIG_ENV_VAR } from './kubernetes/settings.ts';
export { OnFinishAction, OnKillAction } from './core/pod/finish-action.ts';
export { KubernetesExecutor } from './airflow/kubernetes-executor.ts';
export type { Coordinator, KubernetesExecutorOptions } from './airflow/kubernetes-executor.ts';
export { AirflowKubernetesScheduler } from './airflow/airflow-kubernetes-scheduler.ts';
export { KubernetesJobWatcher } from './airflow/kubernetes-job-watcher.ts';
export { ResourceVersion } from './airflow/kubernetes-job-watcher.ts';
export { KubeConfig } from './airflow/kube-config.ts';
export { KubernetesExecutorConfig } from './operator/kubernetes-executor-config.ts';
export { PodGenerator } from './airflow/pod-generator.ts';
export { PodMutationHookError, PodReconciliationError } from './operator/construct-pod.ts';
export { getBasePodFromTemplate } from './airflow/pod-template.ts';
export type { BufferedEvent, QueuedTask } from './airflow/base-executor.ts';
export type {
  FailureDetails,
  KubernetesJob,
  KubernetesResults,
  KubernetesWatch,
  TaskState,
} from './airflow/records.ts';
export type { TaskKey } from './core/pod/executor-labels.ts';
export type { TaskInstance, TaskStore } from './airflow/records.ts';
export { openClusters } from './kubernetes/clusters.ts';
export type { Cluster, Clusters } from './ports/cluster.ts';
