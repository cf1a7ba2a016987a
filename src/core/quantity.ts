/** Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) as numbers.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */

const FACTORS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE])?)$/;

/** A quantity, text or number, in its base unit (cores, bytes, pieces); `undefined` when it is not valid. */
export function quantityOf(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  if (typeof value !== 'string' || value.length > 64) return undefined;
  const match = QUANTITY.exec(value);
  if (match === null) return undefined;
  const [, digits = '', exponent, suffix = ''] = match;
  const number = Number(`${digits}${exponent ?? ''}`) * (FACTORS[suffix] ?? Number.NaN);
  return Number.isFinite(number) ? number : undefined;
}
