/** Where a run's result goes: small ones into state and event, larger ones into an object. @see spec protocol §9 */
import { z } from 'zod';
import type { ResultStore } from '../ports/stores.ts';
import { MAX_INLINE_RESULT_BYTES } from '../wire/outcome.ts';
import type { ResultRef } from '../wire/outcome.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Name of a result object. */
export const RESULT_NAME = 'return_value';

/** A result as outcome fields. */
export type StoredResult = { readonly result: z.core.util.JSONType } | { readonly resultRef: ResultRef };

/** Stores a result of attempt `attempt`. Safe to repeat: the object is named by run and attempt. */
export async function storeResult(
  { run, results, state }: { readonly run: RunKey; readonly results: ResultStore; readonly state: { attempt: number } },
  result: z.core.util.JSONType,
): Promise<StoredResult> {
  const data = new TextEncoder().encode(JSON.stringify(result));
  if (data.byteLength <= MAX_INLINE_RESULT_BYTES) return { result };
  return { resultRef: await results.put(run, state.attempt, RESULT_NAME, data) };
}

/** The same for a result that is JSON text already: an object carries it byte for byte. */
export async function storeResultText(
  { run, results, state }: Parameters<typeof storeResult>[0],
  text: string,
): Promise<StoredResult> {
  const data = new TextEncoder().encode(text);
  // A number beyond a double is no value of ours (1e400 would become null): as an object the text stays what it is.
  const value = data.byteLength <= MAX_INLINE_RESULT_BYTES ? z.json().safeParse(JSON.parse(text)) : undefined;
  if (value?.success === true) return { result: value.data };
  return { resultRef: await results.put(run, state.attempt, RESULT_NAME, data) };
}
