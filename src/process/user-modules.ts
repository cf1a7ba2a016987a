/** Code that a worker is given by file: operators and callbacks of the user's own. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';

/**
 * All exports of `files` (relative to `directory`) that `defineOperator` made.
 * @throws ReentryError CONFIG_INVALID where a file cannot be loaded or exports none
 */
export async function operatorsFrom(
  files: readonly string[] | undefined,
  directory: string,
): Promise<readonly DefinedOperator[]> {
  const found: DefinedOperator[] = [];
  if (files === undefined || files.length === 0) return found;
  // Late: a process without operators of its own, as a triggerer is, loads nothing of them.
  const { isDefinedOperator } = await import('../operator/define-operator.ts');
  for (const file of files) {
    const operators = Object.values(await exportsOf(file, directory)).filter(isDefinedOperator);
    if (operators.length === 0) throw invalid(`${file} exports no operator; make one with defineOperator`);
    found.push(...operators);
  }
  return found;
}

/**
 * All callbacks that `files` (relative to `directory`) export, by name.
 * @throws ReentryError CONFIG_INVALID where a file cannot be loaded or exports none
 */
export async function callbacksFrom(
  files: readonly string[] | undefined,
  directory: string,
): Promise<CallbackRegistry> {
  const { callbacksIn } = await import('../operator/callbacks.ts');
  let known: CallbackRegistry = {};
  for (const file of files ?? []) {
    const found = callbacksIn(await exportsOf(file, directory));
    if (Object.keys(found).length === 0) throw invalid(`${file} exports no callbacks (a class or object with hooks)`);
    known = { ...known, ...found };
  }
  return known;
}

/** A module's namespace: an object without a prototype, which a plain record's check refuses. */
const exportsSchema = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === 'object' && value !== null,
);

async function exportsOf(file: string, directory: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const loaded: unknown = await import(pathToFileURL(resolve(directory, file)).href);
    return { ...exportsSchema.parse(loaded) };
  } catch (cause) {
    throw invalid(`${file} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

function invalid(message: string, cause?: unknown): ReentryError {
  return new ReentryError('CONFIG_INVALID', message, { transient: false, cause });
}
