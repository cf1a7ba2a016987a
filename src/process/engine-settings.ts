/** Settings of the engine that workers and executors are: the same in both, since either may be the janitor, and either starts runs. */
import type { Config, SettingName } from '../config.ts';
import type { WorkerSettings } from '../roles/worker.ts';

const DAY_MS = 24 * 3_600_000;

/** Their names, for the flags of the two commands. */
export const ENGINE_SETTINGS: readonly SettingName[] = [
  'intakeCredits',
  'startCredits',
  'resumeCredits',
  'ctlCredits',
  'concurrencyLimits',
  'podSecurity',
  'policy',
  'templateFolder',
  'keepPodSeconds',
  'runRetentionDays',
];

/** What the engine is given of the settings. */
export function engineSettings(
  config: Config,
): Required<
  Pick<WorkerSettings, 'installation' | 'namespaces' | 'credits' | 'concurrencyLimits' | 'retentionMs' | 'keepPodMs'>
> {
  const { installation, namespaces, concurrencyLimits } = config;
  return {
    ...{ installation, namespaces, concurrencyLimits },
    credits: {
      intake: config.intakeCredits,
      ctl: config.ctlCredits,
      resume: config.resumeCredits,
      start: config.startCredits,
    },
    retentionMs: config.runRetentionDays * DAY_MS,
    keepPodMs: config.keepPodSeconds * 1000,
  };
}
