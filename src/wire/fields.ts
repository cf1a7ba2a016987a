/** Fields that several messages share. */
import { WIRE_VERSION } from '../core/wire-version.ts';
import { z } from 'zod';

/** Every internal message's `v`. */
export const version = z
  .number()
  .int()
  .min(WIRE_VERSION - 1)
  .max(WIRE_VERSION + 1);

export const instant = z.number().int().nonnegative().describe('epoch milliseconds, broker time');

export const count = z.number().int().nonnegative();

export const seconds = z
  .number()
  .nonnegative()
  .max(366 * 24 * 3600);
