/** Exponential back-off: `baseMs` after the first failure, doubled with each further one, at most `maxMs`. */
export function backOffMs(failures: number, baseMs: number, maxMs: number): number {
  // 2^30 × 1 s exceeds every maximum; larger exponents would exceed the safe integers.
  return Math.min(maxMs, baseMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
}
