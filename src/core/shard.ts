import { createHash } from 'node:crypto';
import type { RunKey } from '../wire/subjects.ts';

/** Number of shares the runs are divided into. */
export const SHARD_COUNT = 256;

/** SHA-256 of `tenant/runId`, the base of shard, run label and pod name. @see spec protocol §1 */
export function runDigest({ tenant, runId }: RunKey): Buffer {
  return createHash('sha256').update(`${tenant}/${runId}`).digest();
}

/** The run's shard, two lower-case hex digits. */
export function shardOf(run: RunKey): string {
  return runDigest(run).subarray(0, 1).toString('hex');
}

/** All shards, `00` to `ff`. */
export const SHARDS: readonly string[] = Array.from({ length: SHARD_COUNT }, (_, n) => n.toString(16).padStart(2, '0'));
