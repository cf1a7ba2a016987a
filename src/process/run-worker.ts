/** A worker inside the caller's own program, with operators of its own. */
import { fromEvent, NEVER, of } from 'rxjs';
import { parseConfig } from '../config.ts';
import type { Config } from '../config.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log } from '../ports/ambient.ts';
import { openLog, openTelemetry } from '../telemetry.ts';
import { runRole } from './roles.ts';

/** What an embedded worker is given. */
export interface RunWorkerOptions {
  /** Settings, as the settings file would name them; checked as a whole. Nothing is read from the environment unless `env` is given. */
  readonly settings?: Partial<Readonly<Record<keyof Config, unknown>>>;
  /** Environment to take settings, `KUBECONFIG` and in-cluster credentials from. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Operators beside `pod`, made by `defineOperator`; one of the same name takes its place. */
  readonly operators?: readonly DefinedOperator[];
  /** Pod callbacks by the names that requests use; beside those of the setting `callbacks`. */
  readonly callbacks?: CallbackRegistry;
  /** Stops the worker: it drains and the promise resolves. */
  readonly signal?: AbortSignal;
  /** Where the log goes; default: JSON lines on stderr. */
  readonly log?: Log;
}

/**
 * Runs a worker until `signal` aborts and all it had begun is done.
 * @throws ReentryError CONFIG_INVALID, NATS_MISMATCH (run `reentry setup`), FORBIDDEN naming missing permissions, DRAIN_OVERDUE
 */
export async function runWorker(options: RunWorkerOptions = {}): Promise<void> {
  const env = options.env ?? {};
  const config = parseConfig({ flags: options.settings ?? {}, env });
  const log = options.log ?? openLog(config, 'worker', process.stderr);
  await runRole('worker', {
    ...{ config, env, log, meter: openTelemetry(log).meter },
    operators: options.operators ?? [],
    callbacks: options.callbacks ?? {},
    stop$:
      options.signal === undefined
        ? NEVER
        : options.signal.aborted
          ? of(options.signal)
          : fromEvent(options.signal, 'abort'),
    begun: () => undefined,
  });
}
