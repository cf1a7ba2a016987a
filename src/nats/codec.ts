import type { z } from 'zod';
import { ReentryError } from '../errors.ts';
import { dec } from '../wire/tokens.ts';
import type { RunKey } from '../wire/subjects.ts';

const text = new TextDecoder();

/** Parses a stored value or message. @throws ReentryError INTERNAL, naming where it stands and each problem */
export function decoded<S extends z.ZodType>(schema: S, data: Uint8Array, where: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(text.decode(data));
  } catch (cause) {
    throw new ReentryError('INTERNAL', `${where} is not JSON`, { transient: false, cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => ({ path: path.join('.') || '$', message }));
  throw new ReentryError(
    'INTERNAL',
    `${where} does not fit its schema: ${problems.map(({ path, message }) => `${path}: ${message}`).join('; ')}`,
    { transient: false, problems, cause: result.error },
  );
}

/** The field `op` of a stored JSON object, for recognizing our own write. */
export function operationOf(data: Uint8Array): unknown {
  const json: unknown = JSON.parse(text.decode(data));
  return typeof json === 'object' && json !== null && 'op' in json ? json.op : undefined;
}

/** The run of two tokens as received, canonical or not. */
export function rawRunOf(tenantToken: string, runIdToken: string): RunKey {
  return (
    runOf(tenantToken, runIdToken) ?? {
      tenant: tenantToken,
      runId: runIdToken,
      tokens: `${tenantToken}.${runIdToken}`,
    }
  );
}

/** The run of two tokens; `undefined` where one is not canonical. */
export function runOf(tenantToken: string | undefined, runIdToken: string | undefined): RunKey | undefined {
  const tenant = dec(tenantToken ?? '');
  const runId = dec(runIdToken ?? '');
  return tenant === undefined || runId === undefined ? undefined : { tenant, runId };
}
