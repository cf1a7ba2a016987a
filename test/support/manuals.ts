/** Parses the manuals (every README.md of the repository): fences, links, headings, tables. For their tests. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Root of the repository. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A fenced block of a manual. */
export interface Fence {
  readonly manual: string;
  /** Line of the opening fence, from 1. */
  readonly line: number;
  /** `sh`, `ts`, `json`, …; empty where none is named. */
  readonly language: string;
  readonly text: string;
  /** What the HTML comment directly above the fence contains: how a test treats the fence. */
  readonly marker: string | undefined;
}

/** Paths of all manuals, relative to the root; the top one first. */
export function manuals(): readonly string[] {
  const below = globSync('{src,helm,test}/**/README.md', { cwd: ROOT });
  return ['README.md', ...below.map((path) => path.replaceAll('\\', '/')).sort()];
}

/** Text of one manual. */
export const manualText = (manual: string): string => readFileSync(ROOT + manual, 'utf8');

/** All fences of one manual, in order. */
export function fencesOf(manual: string): readonly Fence[] {
  const fences: Fence[] = [];
  const lines = manualText(manual).split('\n');
  for (let at = 0; at < lines.length; at += 1) {
    const opening = /^(\s*)```(\w*)/.exec(lines[at] ?? '');
    if (opening === null) continue;
    const [, indent = '', language = ''] = opening;
    const end = lines.indexOf(`${indent}\`\`\``, at + 1);
    const above = lines.slice(0, at).findLast((line) => line.trim() !== '');
    fences.push({
      ...{ manual, language, line: at + 1 },
      text: lines
        .slice(at + 1, end)
        .map((line) => line.slice(indent.length))
        .join('\n'),
      marker: /^\s*<!-- (.*) -->$/.exec(above ?? '')?.[1],
    });
    at = end;
  }
  return fences;
}

/** The prose of a manual: without fences and code spans. */
export const proseOf = (manual: string): string =>
  manualText(manual)
    .replace(/^(\s*)```[^]*?^\1```$/gm, '')
    .replace(/`[^`\n]*`/g, (span) => span.replace(/[[\]()<>]/g, ' '));

/** Targets of all links of a manual, as written. */
export const linksOf = (manual: string): readonly string[] =>
  [...proseOf(manual).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);

/** GitHub's anchors of a manual's headings. */
export function anchorsOf(manual: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  const text = manualText(manual).replace(/^(\s*)```[^]*?^\1```$/gm, '');
  for (const [, title = ''] of text.matchAll(/^#{1,6} (.*)$/gm)) {
    const slug = title
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-');
    const again = [...anchors].filter((one) => one === slug || one.startsWith(`${slug}-`)).length;
    anchors.add(anchors.has(slug) ? `${slug}-${String(again)}` : slug);
  }
  return anchors;
}

/** The rows of all tables of a manual, each by its column heads. */
export function tableRowsOf(manual: string): readonly ReadonlyMap<string, string>[] {
  const rows: ReadonlyMap<string, string>[] = [];
  let heads: readonly string[] | undefined;
  for (const line of manualText(manual).split('\n')) {
    if (!line.startsWith('|')) {
      heads = undefined;
      continue;
    }
    const cells = line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim());
    if (heads === undefined) heads = cells;
    else if (!cells.every((cell) => /^:?-+:?$/.test(cell))) {
      const names = heads;
      rows.push(new Map(cells.map((cell, column) => [names[column] ?? '', cell])));
    }
  }
  return rows;
}
