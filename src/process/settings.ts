/** What each room is configured with, from the settings of the process. Defaults are in `config.ts` only. */
import type { Config } from '../config.ts';
import type { CommandOperatorOptions } from '../operator/command-operator.ts';
import type { LauncherOptions } from '../slots/launcher.ts';
import type { StreamSettings } from '../wire/streams.ts';
import type { TriggererSettings } from '../roles/triggerer.ts';
import type { WorkerSettings } from '../worker/worker-engine.ts';

const DAY_SECONDS = 24 * 3_600;

/** Configuration shared by workers and executors. */
export function engineSettings(
  config: Config,
): Pick<WorkerSettings, 'installation' | 'namespaces' | 'credits' | 'concurrencyLimits' | 'retentionMs' | 'keepPodMs'> {
  const { installation, namespaces, concurrencyLimits } = config;
  return {
    ...{ installation, namespaces, concurrencyLimits },
    credits: {
      intake: config.intakeCredits,
      ctl: config.ctlCredits,
      resume: config.resumeCredits,
      start: config.startCredits,
    },
    retentionMs: config.runRetentionDays * DAY_SECONDS * 1_000,
    keepPodMs: config.keepPodSeconds * 1_000,
  };
}

/** Configuration of a triggerer. */
export function triggererSettings({
  installation,
  namespaces,
  minLoggingEveryMs,
}: Config): Pick<TriggererSettings, 'installation' | 'namespaces' | 'minLoggingEveryMs'> {
  return { installation, namespaces, minLoggingEveryMs };
}

/** Configuration of the operator `command`, without the files that settings name. */
export function commandSettings(config: Config) {
  return {
    podSecurity: config.podSecurity,
    image: config.executorImage,
    namespace: config.executorNamespace,
    deleteWorkerPods: config.executorDeleteWorkerPods,
    deleteWorkerPodsOnFailure: config.executorDeleteWorkerPodsOnFailure,
    publishRetries: config.executorPublishRetries,
    queuedTimeoutSeconds: config.executorQueuedTimeoutSeconds,
    queuedRetries: config.executorQueuedRetries,
  } satisfies CommandOperatorOptions;
}

/** Slots and launch concurrency of an executor. */
export function slotSettings(config: Config): { readonly parallelism: number } & Pick<LauncherOptions, 'maxInFlight'> {
  return { parallelism: config.executorParallelism, maxInFlight: config.executorLaunchConcurrency };
}

/** Configuration of the streams, buckets and consumers that `setup` creates. */
export function streamSettings(config: Config): StreamSettings {
  return {
    workerQueues: config.queues,
    executorQueues: config.executorQueues,
    replicas: config.replicas,
    storageBytes: config.storageBytes,
    runRetentionSeconds: config.runRetentionDays * DAY_SECONDS,
    logRetentionSeconds: config.logRetentionDays * DAY_SECONDS,
  };
}
