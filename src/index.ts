/**
 * Everything the package exports, in three groups: the client, embedding a worker, and Airflow's names. `connect` needs NATS only; what reaches
 * Kubernetes is loaded when it is first used. The client alone can be imported from `reentry/client`.
 */

// The client: submit runs, read their states, logs and results.
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
export { DIAGNOSES } from './core/run/diagnosis.ts';
export { ReentryError } from './errors.ts';
export type { ErrorCode, Problem } from './errors.ts';

// A worker inside a program: its operators, callbacks and clusters.
export { runWorker } from './process/run-worker.ts';
export type { RunWorkerOptions } from './process/run-worker.ts';
export { defineOperator, podOperator } from './operator/define-operator.ts';
export type { DefinedOperator, Deferral, Kwargs, OperatorDefinition, Task } from './operator/define-operator.ts';
export type { PodParamsInput } from './operator/pod-params.ts';
export type { Operator, StepContext, StepFacts, StepOutcome } from './operator/operator.ts';
export { callbacksIn } from './operator/callbacks.ts';
export type {
  CallbackArgs,
  CallbackArgsByHook,
  CallbackRegistry,
  PodArgs,
  PodCallbacks,
  ProgressArgs,
} from './operator/callbacks.ts';
export { openClusters } from './kubernetes/clusters.ts';
export type { Cluster, Clusters } from './ports/cluster.ts';

// Airflow's names: the pod operator as a class.
export { KubernetesPodOperator } from './airflow/kubernetes-pod-operator.ts';
export type {
  KubernetesPodOperatorParams,
  PodEvent,
  TaskContext,
  TaskDeferred,
  TaskReturned,
} from './airflow/kubernetes-pod-operator-params.ts';
export { KubernetesPodTrigger } from './airflow/kubernetes-pod-trigger.ts';
export { ExecutionMode, KubernetesPodOperatorCallback } from './operator/callbacks.ts';
export { OnFinishAction, OnKillAction } from './core/pod/finish-action.ts';
export { hookOf } from './airflow/pod-operator-hook-protocol.ts';
export type { PodOperatorHookProtocol } from './airflow/pod-operator-hook-protocol.ts';
export { openHook } from './process/open-hook.ts';
export type { HookOptions } from './process/open-hook.ts';
export { KUBE_CONFIG_ENV_VAR } from './kubernetes/settings.ts';

// Airflow's names: the pod manager and its helpers.
export { PodManager } from './airflow/pod-manager.ts';
export { parseLogLine } from './airflow/pod-logs.ts';
export type { PodLoggingStatus } from './airflow/pod-logs.ts';
export {
  containerIsCompleted,
  containerIsRunning,
  containerIsSucceeded,
  containerIsTerminated,
  containerIsWait,
  getContainerStatus,
  getContainerTerminationMessage,
  PodEventType,
  PodPhases as PodPhase,
} from './airflow/containers.ts';
export { genericApiRetry, shouldRetryStartPod } from './airflow/api-retry.ts';
export { alphanumLower } from './core/pod/names.ts';
export {
  FoundMoreThanOnePodFailure,
  PodCredentialsExpiredFailure,
  PodLaunchFailedException,
  PodLaunchTimeoutException,
  PodNotFoundException,
  PodReattachFailure,
  TaskFailed,
  TaskSkipped,
} from './airflow/exceptions.ts';
export { PodCommandException, XComRetrievalError } from './operator/xcom.ts';

// Airflow's names: the executor.
export { KubernetesExecutor } from './airflow/kubernetes-executor.ts';
export type { Coordinator, KubernetesExecutorOptions } from './airflow/kubernetes-executor.ts';
export type { BufferedEvent, QueuedTask } from './airflow/base-executor.ts';
export { AirflowKubernetesScheduler } from './airflow/airflow-kubernetes-scheduler.ts';
export { KubernetesJobWatcher, ResourceVersion } from './airflow/kubernetes-job-watcher.ts';
export { KubeConfig } from './airflow/kube-config.ts';
export { KubernetesExecutorConfig } from './operator/kubernetes-executor-config.ts';
export { PodGenerator } from './airflow/pod-generator.ts';
export { getBasePodFromTemplate } from './airflow/pod-template.ts';
export { PodMutationHookError, PodReconciliationError } from './operator/construct-pod.ts';
export type {
  FailureDetails,
  KubernetesJob,
  KubernetesResults,
  KubernetesWatch,
  TaskInstance,
  TaskState,
  TaskStore,
} from './airflow/records.ts';
export type { TaskKey } from './core/pod/executor-labels.ts';
