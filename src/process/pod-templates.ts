/** Pod templates that are files of this machine. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { ReentryError } from '../errors.ts';
import type { Manifest } from '../ports/cluster.ts';

/** One manifest. @throws ReentryError CONFIG_INVALID for what cannot be read or is not YAML */
export function templateIn(path: string): Manifest {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ReentryError('CONFIG_INVALID', `cannot read ${path}: ${why}`, { transient: false, cause });
  }
  const manifest = z.record(z.string(), z.unknown()).safeParse(parseYamlFile(path, content));
  if (manifest.success) return manifest.data;
  throw new ReentryError('CONFIG_INVALID', `${path} must hold one pod`, { transient: false });
}

/** The pod templates of a folder by their files' names, with and without ending. @throws ReentryError CONFIG_INVALID for what is not YAML */
export function templatesIn(folder: string | undefined): Readonly<Record<string, Manifest>> {
  const templates: Record<string, Manifest> = {};
  for (const file of folder === undefined ? [] : readdirSync(folder)) {
    const { name, ext } = parse(file);
    if (folder === undefined || !['.yaml', '.yml', '.json'].includes(ext)) continue;
    const template = templateIn(join(folder, file));
    templates[file] = template;
    templates[name] = template;
  }
  return templates;
}
