/** Operators and callbacks of the user, loaded from the files that settings name. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { messageOf, ReentryError } from '../errors.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';

/**
 * All exports of `files` (relative to `directory`) that were made by `defineOperator`.
 * @throws ReentryError CONFIG_INVALID when a file cannot be loaded or exports none
 */
export async function operatorsFrom(
  files: readonly string[] | undefined,
  directory: string,
): Promise<readonly DefinedOperator[]> {
  const found: DefinedOperator[] = [];
  if (files === undefined || files.length === 0) return found;
  // Loaded here, because a process without such operators does not need this module.
  const { isDefinedOperator } = await import('../operator/define-operator.ts');
  for (const file of files) {
    const operators = Object.values(await exportsOf(file, directory)).filter(isDefinedOperator);
    if (operators.length === 0)
      throw invalid(`operator module ${file} exports no operator; export one made by defineOperator`);
    found.push(...operators);
  }
  return found;
}

/**
 * All callbacks that `files` (relative to `directory`) export, by name.
 * @throws ReentryError CONFIG_INVALID when a file cannot be loaded or exports none
 */
export async function callbacksFrom(
  files: readonly string[] | undefined,
  directory: string,
): Promise<CallbackRegistry> {
  const { callbacksIn } = await import('../operator/callbacks.ts');
  let known: CallbackRegistry = {};
  for (const file of files ?? []) {
    const found = callbacksIn(await exportsOf(file, directory));
    if (Object.keys(found).length === 0)
      throw invalid(`callback module ${file} exports no callbacks; export a class or an object with hooks`);
    known = { ...known, ...found };
  }
  return known;
}

/** A module namespace. It has no prototype, which `z.record` would reject. */
const exportsSchema = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === 'object' && value !== null,
);

async function exportsOf(file: string, directory: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const loaded: unknown = await import(pathToFileURL(resolve(directory, file)).href);
    return { ...exportsSchema.parse(loaded) };
  } catch (cause) {
    throw invalid(`cannot load module ${file}: ${messageOf(cause)}`, cause);
  }
}

function invalid(message: string, cause?: unknown): ReentryError {
  return new ReentryError('CONFIG_INVALID', message, { transient: false, cause });
}
