/** The seed's exceptions, for those who use its classes from code. A run's own failures are diagnoses. @see spec pod-operator §9 */
import { ReentryError } from '../errors.ts';

/** The pod cannot start: its image, or its own end before it began. */
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
/** A pod was expected and is not there. */
export class PodReattachFailure extends ReentryError {
  override readonly name = 'PodReattachFailure';
  constructor(message: string) {
    super('NOT_FOUND', message, { transient: false });
  }
}
/** Credentials had expired and were renewed: the wait that met them begins again. */
export class PodCredentialsExpiredFailure extends ReentryError {
  override readonly name = 'PodCredentialsExpiredFailure';
  constructor(message: string) {
    super('UNAUTHORIZED', message, { transient: true });
  }
}
/** Several pods have the labels of one task. */
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
/** The task failed: the seed's `AirflowException` of a failed pod. */
export class TaskFailed extends ReentryError {
  override readonly name = 'TaskFailed';
  /** The result that it left all the same. */
  readonly result: unknown;
  constructor(message: string, result?: unknown) {
    super('KUBERNETES', message, { transient: false });
    this.result = result;
  }
}
/** The task is to count as skipped: its exit code is one of `skipOnExitCode`. */
export class TaskSkipped extends ReentryError {
  override readonly name = 'TaskSkipped';
  constructor(message: string) {
    super('KUBERNETES', message, { transient: false });
  }
}
