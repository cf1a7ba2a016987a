/** What identifies a run besides its subject: digest, shard, and a key inside this process. See "Identity" in `src/wire/README.md`. */
import { createHash } from 'node:crypto';
import type { RunKey } from '../wire/subjects.ts';

/** A key for something of a tenant (run, concurrency key) inside this process. The tenant's length keeps `a/b` + `c` and `a` + `b/c` apart. */
export const tenantKey = (tenant: string, name: string): string => `${tenant.length}:${tenant}/${name}`;

/** Number of shards that runs are divided into. */
export const SHARD_COUNT = 256;

/** SHA-256 of `tenant/runId`, of which shard, run label and pod name are made. */
export function runDigest({ tenant, runId }: RunKey): Buffer {
  return createHash('sha256').update(`${tenant}/${runId}`).digest();
}

/** The run's shard: two lower-case hex digits. */
export function shardOf(run: RunKey): string {
  return runDigest(run).subarray(0, 1).toString('hex');
}

/** All shards, `00` to `ff`. */
export const SHARDS: readonly string[] = Array.from({ length: SHARD_COUNT }, (_, n) => n.toString(16).padStart(2, '0'));

/** A set of shards as a bitmap of 64 hex digits, shard `00` first. */
export function shardBits(shards: ReadonlySet<string>): string {
  let bits = '';
  for (let n = 0; n < SHARDS.length; n += 4) {
    const nibble = SHARDS.slice(n, n + 4).reduce((sum, shard) => sum * 2 + (shards.has(shard) ? 1 : 0), 0);
    bits += nibble.toString(16);
  }
  return bits;
}

/** The shards in such bits; shorter text has fewer. */
export function shardsOf(bits: string): ReadonlySet<string> {
  return new Set(SHARDS.filter((_, n) => (Number.parseInt(bits[n >> 2] ?? '0', 16) >> (3 - (n & 3))) & 1));
}
