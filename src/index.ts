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
  RunWish,
  StoredEvent,
  SubmitOptions,
  WishAnswer,
} from './client/index.ts';
export { ReentryError } from './errors.ts';
export type { ErrorCode, Problem } from './errors.ts';
export { DIAGNOSES } from './core/diagnosis.ts';
export { KubernetesPodOperator } from './operator/kubernetes-pod-operator.ts';
export { PodOperator } from './operator/pod-operator.ts';
export type { PodOperatorOptions } from './operator/pod-operator.ts';
export type {
  KubernetesPodOperatorParams,
  PodEvent,
  TaskContext,
  TaskDeferred,
  TaskReturned,
} from './operator/pod-task-params.ts';
export { hookOf } from './operator/hook.ts';
export type { PodOperatorHookProtocol } from './operator/hook.ts';
export * from './operator/exceptions.ts';
export { PodCommandException, XComRetrievalError } from './operator/xcom.ts';
export { genericApiRetry } from './operator/api-retry.ts';
export { shouldRetryStartPod } from './core/api-retry.ts';
export type { PodLoggingStatus } from './operator/pod-logs.ts';
export { parseLogLine } from './operator/pod-logs.ts';
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
} from './core/containers.ts';
export { defineOperator } from './operator/define-operator.ts';
export type { DefinedOperator, Deferral, Kwargs, OperatorDefinition, Task } from './operator/define-operator.ts';
export type { PodParamsInput } from './operator/params.ts';
export { PodManager } from './operator/pod-manager.ts';
export type { Operator, StepContext, StepFacts, StepOutcome } from './operator/operator.ts';
export { KubernetesPodTrigger } from './trigger/kubernetes-pod-trigger.ts';
export { openHook } from './commands/open-hook.ts';
export type { HookOptions } from './commands/open-hook.ts';
export { runWorker } from './commands/run-worker.ts';
export type { RunWorkerOptions } from './commands/run-worker.ts';
export { callbacksIn, ExecutionMode, KubernetesPodOperatorCallback } from './operator/callbacks.ts';
export type {
  CallbackRegistry,
  CallbackScene,
  CallbackScenes,
  PodCallbacks,
  PodScene,
  ProgressScene,
} from './operator/callbacks.ts';
export { alphanumLower } from './core/names.ts';
export { KUBE_CONFIG_ENV_VAR } from './kubernetes/settings.ts';
export { OnFinishAction, OnKillAction } from './core/finish-action.ts';
export { KubernetesExecutor } from './executor/kubernetes-executor.ts';
export type { Coordinator, KubernetesExecutorOptions } from './executor/kubernetes-executor.ts';
export { AirflowKubernetesScheduler } from './executor/airflow-kubernetes-scheduler.ts';
export { KubernetesJobWatcher } from './executor/kubernetes-job-watcher.ts';
export { ResourceVersion } from './executor/resource-version.ts';
export { KubeConfig } from './executor/kube-config.ts';
export { KubernetesExecutorConfig } from './executor/kubernetes-executor-config.ts';
export { PodGenerator, PodMutationHookError, PodReconciliationError } from './executor/pod-generator.ts';
export { getBasePodFromTemplate } from './executor/pod-template.ts';
export type { BufferedEvent, QueuedTask } from './executor/base-executor.ts';
export type {
  FailureDetails,
  KubernetesJob,
  KubernetesResults,
  KubernetesWatch,
  TaskState,
} from './executor/records.ts';
export type { TaskKey } from './executor/task-key.ts';
export type { TaskInstance, TaskStore } from './executor/task-store.ts';
export { openClusters } from './kubernetes/clusters.ts';
export type { Cluster, Clusters } from './ports.ts';
