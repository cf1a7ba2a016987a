/** Field schemas that several messages share. */
import { z } from 'zod';
import { WIRE_VERSION } from '../core/wire-version.ts';

/** `v` of every internal message: the version that wrote it. This version reads one back and one ahead. */
export const version = z
  .number()
  .int()
  .min(WIRE_VERSION - 1)
  .max(WIRE_VERSION + 1);

/** An instant: epoch milliseconds, by the broker's clock. */
export const instant = z.number().int().nonnegative().describe('Epoch milliseconds, broker time.');

/** A whole number from 0. */
export const count = z.number().int().nonnegative();

/** A duration in seconds: 0 to 366 days. */
export const seconds = z
  .number()
  .nonnegative()
  .max(366 * 24 * 3600);
