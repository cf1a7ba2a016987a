/** Files that settings name. */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { typedPod } from '../core/pod/typed-pod.ts';
import { messageOf, ReentryError } from '../errors.ts';
import type { Manifest } from '../ports/cluster.ts';

/** The text of a file. @throws ReentryError CONFIG_INVALID when it cannot be read */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** A pod manifest, its scalars typed. @throws ReentryError CONFIG_INVALID when it cannot be read or is not YAML */
export function templateIn(path: string): Manifest {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  const manifest = z.record(z.string(), z.unknown()).safeParse(parseYamlFile(path, content, { intAsBigInt: true }));
  if (manifest.success) return typedPod(manifest.data, 'yaml');
  throw new ReentryError('CONFIG_INVALID', `${path} must contain one pod manifest`, { transient: false });
}

/** The pod manifests of a folder by file name, with and without extension. @throws ReentryError CONFIG_INVALID when one is not YAML */
export function templatesIn(folder: string | undefined): Readonly<Record<string, Manifest>> {
  if (folder === undefined) return {};
  const templates: Record<string, Manifest> = {};
  for (const file of readdirSync(folder)) {
    const { name, ext } = parse(file);
    if (!['.yaml', '.yml', '.json'].includes(ext)) continue;
    const template = templateIn(join(folder, file));
    templates[file] = template;
    templates[name] = template;
  }
  return templates;
}

/** The error for a file that cannot be read. */
export function unreadable(path: string, cause: unknown): ReentryError {
  const why = messageOf(cause);
  return new ReentryError('CONFIG_INVALID', `cannot read ${path}: ${why}`, { transient: false, cause });
}
