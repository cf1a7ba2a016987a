/** How the rows of the tables of hostile requests are written. */

/** `refused`: no pod is created, and the run ends with this code. `harmless`: the run ends, and affects no other. */
export type End = 'INVALID_REQUEST' | 'POLICY_REFUSED' | 'harmless';
/** One run request, published as it is. */
export interface HostileRun {
  readonly what: string;
  readonly tenant: 'default' | 'fenced';
  readonly body: string | Uint8Array;
  readonly end: End;
  /** A path that the refusal names. */
  readonly path?: string;
}

/** Parameters of a run that would go through. */
export const params = { image: 'alpine', cmds: ['true'] };
/** Its container. */
export const container = { name: 'base', image: 'alpine', command: ['true'] };
/** A request with more in it. */
export const json = (more: object, envelope: object = {}): string =>
  JSON.stringify({ params: { ...params, ...more }, ...envelope });
/** One row of tenant `default`. */
export const row = (
  what: string,
  body: HostileRun['body'],
  end: End = 'INVALID_REQUEST',
  path?: string,
): HostileRun => ({
  ...{ what, tenant: 'default', body, end },
  ...(path === undefined ? {} : { path }),
});
/** A row for each tuple. */
export const table = <T extends readonly unknown[]>(
  rows: readonly T[],
  make: (...cells: T) => HostileRun,
): readonly HostileRun[] => rows.map((cells) => make(...cells));
