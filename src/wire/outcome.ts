/** How a run ended, and why. */
import { z } from 'zod';
import { count, instant } from './fields.ts';

/** Largest result kept inline in state and event, in bytes. A larger one is a result object. */
export const MAX_INLINE_RESULT_BYTES = 4 * 1024;

/** Why a run failed, waits too long or was cancelled. */
export const diagnosisSchema = z.looseObject({
  code: z.string().describe('Stable code, for programs.'),
  category: z
    .enum(['user', 'infrastructure', 'request', 'timeout', 'cancelled'])
    .describe('Who can act: `user` the author of the program, `request` the author of the request.'),
  summary: z.string().describe('One sentence, for people.'),
  evidence: z
    .array(z.looseObject({ kind: z.string(), text: z.string() }))
    .default([])
    .describe('What Kubernetes or the program reported.'),
  hint: z.string().optional().describe('What to do about it.'),
  problems: z
    .array(z.looseObject({ path: z.string(), message: z.string() }))
    .optional()
    .describe('Each invalid field of the request, by its path.'),
});
export type Diagnosis = z.infer<typeof diagnosisSchema>;

/** States of a run that has ended. */
export const FINAL_STATES = ['succeeded', 'failed', 'skipped', 'cancelled'] as const;
export type FinalState = (typeof FINAL_STATES)[number];

/** When a run passed each stage, epoch milliseconds of broker time. Stages of an attempt are those of the latest one. */
export const timingsSchema = z.looseObject({
  acceptedAt: instant.optional(),
  launchedAt: instant.optional(),
  startedAt: instant.optional(),
  finishedAt: instant.optional(),
  resumedAt: instant.optional(),
  completedAt: instant.optional(),
});
export type Timings = z.infer<typeof timingsSchema>;

/** Whether the stored log is complete. */
export const logsSummarySchema = z.looseObject({
  complete: z.boolean().describe('All lines were stored.'),
  gaps: count.describe('Places where lines are missing.'),
});

/** A result object, for results over 4 KiB. */
export const resultRefSchema = z.looseObject({
  name: z.string(),
  size: count.describe('Bytes.'),
  digest: z.string().optional().describe('`SHA-256=` and the digest in base64url.'),
});
export type ResultRef = z.infer<typeof resultRefSchema>;

/** How a run ended. At most one of `result` (any JSON up to 4 KiB) and `resultRef`. */
export const outcomeSchema = z.looseObject({
  state: z.enum(FINAL_STATES),
  exitCode: z.number().int().optional(),
  result: z.json().optional(),
  resultRef: resultRefSchema.optional(),
  diagnosis: diagnosisSchema.optional(),
  logs: logsSummarySchema.optional(),
});
export type Outcome = z.infer<typeof outcomeSchema>;
