/** Markdown as text for a terminal: headings, lists, tables and code, wrapped to its width. Covers what the manuals use. */
import { stripVTControlCharacters } from 'node:util';
import Table from 'cli-table3';
import type { Paint } from './paint.ts';

/** Narrowest and widest line; longer ones are hard to read. */
const MIN_WIDTH = 40;
const MAX_WIDTH = 120;
/** Width of the border and padding of one table column. */
const CELL_BORDER = 3;

/** Blocks of a page. */
type Block =
  | { readonly kind: 'heading'; readonly level: number; readonly text: string }
  | { readonly kind: 'code'; readonly lines: readonly string[] }
  | { readonly kind: 'table'; readonly rows: readonly (readonly string[])[] }
  | { readonly kind: 'item'; readonly indent: string; readonly mark: string; readonly text: string }
  | { readonly kind: 'text'; readonly text: string };

/** The page as text of at most `columns` per line, tables with long words excepted. */
export function renderMarkdown(markdown: string, { paint, columns }: { paint: Paint; columns: number }): string {
  const width = Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, columns));
  let before: Block['kind'] | undefined;
  const parts = blocksOf(markdown).map((block) => {
    // Items of a list stand together.
    const gap = before === undefined || (before === 'item' && block.kind === 'item') ? '' : '\n';
    before = block.kind;
    return gap + rendered(block, paint, width);
  });
  return parts.join('\n');
}

function rendered(block: Block, paint: Paint, width: number): string {
  switch (block.kind) {
    case 'heading': {
      const text = inline(block.text, paint);
      return block.level === 1 ? paint.bold(paint.cyan(text.toUpperCase())) : paint.bold(paint.cyan(text));
    }
    case 'code':
      return block.lines.map((line) => `    ${paint.dim(line)}`).join('\n');
    case 'table':
      return tableText(block.rows, paint, width);
    case 'item': {
      const lead = `${block.indent}${block.mark} `;
      const lines = wrapped(inline(block.text, paint), width - lead.length);
      return lead + lines.join(`\n${' '.repeat(lead.length)}`);
    }
    case 'text':
      return wrapped(inline(block.text, paint), width).join('\n');
  }
}

/** Splits a page into blocks. HTML comments and `<…>` lines are left out. */
function blocksOf(markdown: string): readonly Block[] {
  const lines = markdown.replace(/<!--[^]*?-->/g, '').split('\n');
  const blocks: Block[] = [];
  let at = 0;
  const takeWhile = (holds: (line: string) => boolean): readonly string[] => {
    const from = at;
    while (at < lines.length && holds(lines[at] ?? '')) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? '';
    const [, fenceIndent = '', fence] = /^(\s*)(```+)/.exec(line) ?? [];
    const [, hashes, heading = ''] = /^(#{1,6}) (.*)$/.exec(line) ?? [];
    const [, indent = '', mark, first = ''] = ITEM.exec(line) ?? [];
    if (fence !== undefined) {
      at += 1;
      const code = takeWhile((one) => !one.trimStart().startsWith(fence));
      at += 1;
      blocks.push({ kind: 'code', lines: code.map((one) => one.slice(fenceIndent.length)) });
    } else if (hashes !== undefined) {
      at += 1;
      blocks.push({ kind: 'heading', level: hashes.length, text: heading });
    } else if (line.startsWith('|')) {
      blocks.push({ kind: 'table', rows: rowsOf(takeWhile((one) => one.startsWith('|'))) });
    } else if (mark !== undefined) {
      at += 1;
      const rest = takeWhile((one) => /^\s+\S/.test(one) && !startsBlock(one));
      blocks.push({
        kind: 'item',
        indent,
        mark: mark === '*' || mark === '-' ? '•' : mark,
        text: joined([first, ...rest]),
      });
    } else if (line.trim() === '' || /^\s*<[^>]+>\s*$/.test(line)) {
      at += 1;
    } else {
      at += 1;
      blocks.push({
        kind: 'text',
        text: joined([line, ...takeWhile((one) => one.trim() !== '' && !startsBlock(one))]),
      });
    }
  }
  return blocks;
}

const ITEM = /^(\s*)([-*]|\d+\.) (.*)$/;
const startsBlock = (line: string): boolean => /^\s*```|^#{1,6} |^\|/.test(line) || ITEM.test(line);
const joined = (lines: readonly string[]): string => lines.map((line) => line.trim()).join(' ');

/** Cells of a table without the line below its head. */
function rowsOf(lines: readonly string[]): readonly (readonly string[])[] {
  return lines
    .filter((line) => !/^[|:\s-]+$/.test(line))
    .map((line) =>
      line
        .trim()
        .replace(/^\||\|$/g, '')
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim().replaceAll('\\|', '|')),
    );
}

/** A table whose columns share the width by what they contain; where the longest words alone are too wide, one record per row. */
function tableText([head = [], ...rows]: readonly (readonly string[])[], paint: Paint, width: number): string {
  const heads = head.map((name) => inline(name, paint));
  const cells = rows.map((row) => head.map((_, column) => inline(row[column] ?? '', paint)));
  const longest = (measure: (text: string) => number): readonly number[] =>
    heads.map((name, column) => Math.max(...[name, ...cells.map((row) => row[column] ?? '')].map(measure)));
  const needed = longest((text) => Math.max(...text.split(/\s+/).map(shownLength)));
  const spare = width - 1 - sum(needed) - head.length * CELL_BORDER;
  if (spare < 0) return cells.map((row) => record(heads, row, paint, width)).join('\n');
  const table = new Table({
    head: heads.map((name) => paint.bold(name)),
    style: { head: [], border: [] },
    colWidths: shares(needed, longest(shownLength), spare).map((share) => share + CELL_BORDER - 1),
    wordWrap: true,
  });
  table.push(...cells);
  return table.toString();
}

/** A row of a table that is too wide: its first cell, then each other one on lines of its own. */
function record(
  heads: readonly string[],
  [first = '', ...cells]: readonly string[],
  paint: Paint,
  width: number,
): string {
  const lines = cells.flatMap((cell, column) =>
    cell === '' ? [] : wrapped(`${paint.dim(`${heads[column + 1] ?? ''}:`)} ${cell}`, width - RECORD_INDENT.length),
  );
  return [first, ...lines.map((line) => RECORD_INDENT + line)].join('\n');
}

const RECORD_INDENT = '    ';

/** Widths of columns: what each needs, and of the spare width as much as it wants, the modest ones first. */
function shares(needed: readonly number[], wanted: readonly number[], spare: number): readonly number[] {
  const widths = [...needed];
  const byDemand = wanted.map((want, column) => ({ column, more: want - (needed[column] ?? 0) }));
  byDemand.sort((a, b) => a.more - b.more);
  let left = spare;
  for (const [nth, { column, more }] of byDemand.entries()) {
    const given = Math.min(more, Math.floor(left / (byDemand.length - nth)));
    widths[column] = (widths[column] ?? 0) + given;
    left -= given;
  }
  return widths;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** A link or image; the label may contain code. */
const LINK = /!?\[((?:`[^`]*`|[^\]])*)\]\(([^)]*)\)/g;

/** Emphasis, code and links. Of a link to the web its address is shown too. */
function inline(text: string, paint: Paint): string {
  return text
    .replace(LINK, (_, label: string, url: string) => (/^https?:/.test(url) ? `${label} (<${url}>)` : label))
    .split(/(`[^`]+`)/)
    .map((part) => {
      if (part.length > 2 && part.startsWith('`')) return paint.yellow(part.slice(1, -1));
      return part
        .replace(/\*\*([^*]+)\*\*/g, (_, strong: string) => paint.bold(strong))
        .replace(/<(https?:[^>]*)>/g, (_, url: string) => paint.dim(url))
        .replace(/\\([\\`*_{}[\]<>|])/g, '$1');
    })
    .join('');
}

const shownLength = (text: string): number => stripVTControlCharacters(text).length;

/** Lines of at most `width` characters, broken between words. */
function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && shownLength(line) + 1 + shownLength(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
