/** The manuals: README.md of the package and of its folders, found by their paths. */
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { didYouMean } from '../core/nearest.ts';
import { ReentryError } from '../errors.ts';

/** Root of the package; as far from `src/commands` as from `dist/commands`. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** One manual. */
export interface Manual {
  /** The folder's name; `overview` for the README.md of the package, `source` for that of `src`. */
  readonly topic: string;
  /** The first heading. */
  readonly title: string;
  /** Relative to the root of the package. */
  readonly path: string;
  /** Markdown. */
  readonly text: string;
}

/** All manuals of the package, the overview first, then by topic. */
export async function readManuals(root = ROOT): Promise<readonly Manual[]> {
  const paths = globSync(['README.md', 'helm/README.md', 'src/README.md', 'src/*/README.md'], { cwd: root });
  const manuals = await Promise.all(
    paths.map(async (path): Promise<Manual> => {
      const text = await readFile(join(root, path), 'utf8');
      const topic = topicOf(dirname(path));
      return { topic, title: /^# (.*)$/m.exec(text)?.[1] ?? topic, path, text };
    }),
  );
  const rank = ({ topic }: Manual): string => (topic === OVERVIEW ? '' : topic);
  return manuals.sort((a, b) => rank(a).localeCompare(rank(b)));
}

const OVERVIEW = 'overview';

function topicOf(folder: string): string {
  if (folder === '.') return OVERVIEW;
  return folder === 'src' ? 'source' : folder.replace(/^src\//, '');
}

/** The manual of a topic. @throws ReentryError NOT_FOUND with the nearest topic, or all of them */
export function manualOf(manuals: readonly Manual[], topic: string): Manual {
  const found = manuals.find((manual) => manual.topic === topic.toLowerCase());
  if (found !== undefined) return found;
  const topics = manuals.map((manual) => manual.topic);
  const hint = didYouMean(topic.toLowerCase(), topics) || `; topics are: ${topics.join(', ')}`;
  throw new ReentryError('NOT_FOUND', `no manual for topic ${JSON.stringify(topic)}${hint}`, { transient: false });
}
