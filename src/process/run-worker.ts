/** A worker inside the caller's own program, with operators of its own. */
import { fromEvent, NEVER, of } from 'rxjs';
import { parseConfig } from '../config.ts';
import type { Config } from '../config.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log } from '../ports/ambient.ts';
import { openLog, openTelemetry } from '../telemetry.ts';
import { runRole } from './run-role.ts';

/** Options of `runWorker`. */
export interface RunWorkerOptions {
  /** Settings by the names of the settings file. The environment is read only where `env` is given. */
  readonly settings?: Partial<Readonly<Record<keyof Config, unknown>>>;
  /** Environment for settings, `KUBECONFIG` and in-cluster credentials. Default: empty. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Operators in addition to `pod`, made by `defineOperator`; one named `pod` replaces it. Default: none. */
  readonly operators?: readonly DefinedOperator[];
  /** Pod callbacks by the names that requests use, in addition to those of the setting `callbacks`. Default: none. */
  readonly callbacks?: CallbackRegistry;
  /** Stops the worker: it drains, and the promise resolves. */
  readonly signal?: AbortSignal;
  /** Destination of the log. Default: JSON lines on stderr. */
  readonly log?: Log;
}

/**
 * Runs a worker until `signal` aborts and its work is drained.
 * @throws ReentryError CONFIG_INVALID, NATS_MISMATCH (run `reentry setup`), DRAIN_OVERDUE
 */
export async function runWorker(options: RunWorkerOptions = {}): Promise<void> {
  const { env = {}, operators = [], callbacks = {}, signal } = options;
  const config = parseConfig({ flags: options.settings ?? {}, env });
  const log = options.log ?? openLog(config, 'worker', process.stderr);
  const stop$ = signal === undefined ? NEVER : signal.aborted ? of(signal) : fromEvent(signal, 'abort');
  const { meter } = openTelemetry(log);
  await runRole('worker', { config, env, log, meter, operators, callbacks, stop$, onStarted: () => undefined });
}
