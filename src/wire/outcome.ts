/** How a run ended, and why. */
import { instant, count } from './fields.ts';
import { z } from 'zod';

/** Largest result kept inline in state and event, in bytes. */
export const MAX_INLINE_RESULT_BYTES = 4 * 1024;

/** The structured "why" of a run that failed, waits too long or was cancelled. */
export const diagnosisSchema = z.looseObject({
  code: z.string(),
  category: z.enum(['user', 'infrastructure', 'request', 'timeout', 'cancelled']),
  summary: z.string(),
  evidence: z.array(z.looseObject({ kind: z.string(), text: z.string() })).default([]),
  hint: z.string().optional(),
  problems: z.array(z.looseObject({ path: z.string(), message: z.string() })).optional(),
});
export type Diagnosis = z.infer<typeof diagnosisSchema>;

export const FINAL_STATES = ['succeeded', 'failed', 'skipped', 'cancelled'] as const;
export type FinalState = (typeof FINAL_STATES)[number];

export const timingsSchema = z.looseObject({
  acceptedAt: instant.optional(),
  launchedAt: instant.optional(),
  startedAt: instant.optional(),
  finishedAt: instant.optional(),
  resumedAt: instant.optional(),
  completedAt: instant.optional(),
});
export type Timings = z.infer<typeof timingsSchema>;

export const logsSummarySchema = z.looseObject({ complete: z.boolean(), gaps: count });

export const resultRefSchema = z.looseObject({ name: z.string(), size: count, digest: z.string().optional() });
export type ResultRef = z.infer<typeof resultRefSchema>;

/** How a run ended; `result` (any JSON ≤ 4 KiB) or `resultRef`. */
export const outcomeSchema = z.looseObject({
  state: z.enum(FINAL_STATES),
  exitCode: z.number().int().optional(),
  result: z.json().optional(),
  resultRef: resultRefSchema.optional(),
  diagnosis: diagnosisSchema.optional(),
  logs: logsSummarySchema.optional(),
});
export type Outcome = z.infer<typeof outcomeSchema>;
