import { DEFAULT_CONFIG } from '../../src/config.ts';
import {
  commandSettings,
  engineSettings,
  slotSettings,
  streamSettings,
  triggererSettings,
} from '../../src/process/settings.ts';

/** The configuration of each part of `src/` without any setting. */
export const DEFAULTS = {
  engine: engineSettings(DEFAULT_CONFIG),
  triggerer: triggererSettings(DEFAULT_CONFIG),
  command: commandSettings(DEFAULT_CONFIG),
  pod: { podSecurity: DEFAULT_CONFIG.podSecurity },
  slots: slotSettings(DEFAULT_CONFIG),
  streams: streamSettings(DEFAULT_CONFIG),
} as const;
