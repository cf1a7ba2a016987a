/**
 * Airflow's exceptions (`airflow.providers.cncf.kubernetes.exceptions` and `.utils.pod_manager`), thrown by the classes of this library. Runs of a
 * worker fail with diagnoses instead.
 */
import { ReentryError } from '../errors.ts';

/** The pod cannot start: its image cannot be pulled, or it ended before any container began. */
export class PodLaunchFailedException extends ReentryError {
  override readonly name: string = 'PodLaunchFailedException';
  constructor(message: string) {
    super('KUBERNETES', message, { transient: false });
  }
}
/** The pod was not scheduled, or did not start, in time. */
export class PodLaunchTimeoutException extends PodLaunchFailedException {
  override readonly name = 'PodLaunchTimeoutException';
}
/** A pod was expected and does not exist. */
export class PodReattachFailure extends ReentryError {
  override readonly name = 'PodReattachFailure';
  constructor(message: string) {
    super('NOT_FOUND', message, { transient: false });
  }
}
/** Credentials had expired and were renewed; start the wait again. */
export class PodCredentialsExpiredFailure extends ReentryError {
  override readonly name = 'PodCredentialsExpiredFailure';
  constructor(message: string) {
    super('UNAUTHORIZED', message, { transient: true });
  }
}
/** Several pods carry the labels of one task. */
export class FoundMoreThanOnePodFailure extends ReentryError {
  override readonly name = 'FoundMoreThanOnePodFailure';
  constructor(message: string) {
    super('KUBERNETES', message, { transient: false });
  }
}
/** The pod is gone. */
export class PodNotFoundException extends ReentryError {
  override readonly name = 'PodNotFoundException';
  constructor(message: string) {
    super('NOT_FOUND', message, { transient: false });
  }
}
/** The task failed; Airflow raises `AirflowException`. */
export class TaskFailed extends ReentryError {
  override readonly name = 'TaskFailed';
  /** The result that the pod had written all the same; `undefined` when it had none. */
  readonly result: unknown;
  constructor(message: string, result?: unknown) {
    super('KUBERNETES', message, { transient: false });
    this.result = result;
  }
}
/** The task counts as skipped: its exit code is one of `skipOnExitCode`. Airflow raises `AirflowSkipException`. */
export class TaskSkipped extends ReentryError {
  override readonly name = 'TaskSkipped';
  constructor(message: string) {
    super('KUBERNETES', message, { transient: false });
  }
}
