/** From the settings of the process (`config.ts`, the only place with defaults) to what each room is configured with. */
import type { Config } from '../config.ts';
import type { CommandOperatorOptions } from '../operator/command-operator.ts';
import type { LauncherOptions } from '../slots/launcher.ts';
import type { StreamSettings } from '../wire/streams.ts';
import type { TriggererSettings } from '../roles/triggerer.ts';
import type { WorkerSettings } from '../worker/worker-engine.ts';

const DAY_SECONDS = 24 * 3_600;

/** Of a worker and of an executor, whichever queues they serve. */
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

/** Of a triggerer. */
export function triggererSettings({
  installation,
  namespaces,
  minLoggingEveryMs,
}: Config): Pick<TriggererSettings, 'installation' | 'namespaces' | 'minLoggingEveryMs'> {
  return { installation, namespaces, minLoggingEveryMs };
}

/** Of the operator of executor queues, apart from its files. */
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

/** Of an executor beside those of the engine. */
export function slotSettings(config: Config): { readonly parallelism: number } & Pick<LauncherOptions, 'maxInFlight'> {
  return { parallelism: config.executorParallelism, maxInFlight: config.executorLaunchConcurrency };
}

/** Of the streams, buckets and consumers that `setup` makes. */
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
