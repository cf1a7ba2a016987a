import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { manualOf, readManuals } from '../../src/commands/manuals.ts';
import { renderMarkdown } from '../../src/commands/markdown.ts';
import { paintFor } from '../../src/commands/paint.ts';
import { manuals as repositoryManuals } from '../support/manuals.ts';

const paint = paintFor(false);
const render = (markdown: string, columns = 60): string => renderMarkdown(markdown, { paint, columns });

describe('topics', () => {
  test('every manual that the package ships is one, each with a title', async () => {
    const manuals = await readManuals();
    expect(manuals[0]).toMatchObject({ topic: 'overview', path: 'README.md' });
    expect(manuals.map(({ path }) => path).sort()).toEqual(
      repositoryManuals()
        .filter((path) => !path.startsWith('test/'))
        .sort(),
    );
    expect(new Set(manuals.map(({ topic }) => topic)).size).toBe(manuals.length);
    for (const { title, topic } of manuals) expect(title, topic).toMatch(/\S/);
  });

  test('are found in any case; a misspelt one is answered with the nearest, another with all', async () => {
    const manuals = await readManuals();
    expect(manualOf(manuals, 'Wire').path).toBe('src/wire/README.md');
    expect(() => manualOf(manuals, 'wier')).toThrow('no manual for topic "wier"; did you mean wire?');
    expect(() => manualOf(manuals, 'kubernetes-pod-operator')).toThrow(/topics are: overview, airflow, /);
  });
});

describe('a page on a terminal', () => {
  test('is wrapped between words; items hang behind their marks; code keeps its lines', () => {
    const page = [
      '# Title',
      'one two',
      'three **four** `five` [six](seven.md) [eight](https://nine)',
      '',
      '- an item that is longer than the forty columns of it',
      '  and goes on',
      '- another',
      '```sh',
      'a command that is longer than the forty columns of the terminal',
      '```',
    ].join('\n');
    expect(render(page, 40)).toMatchInlineSnapshot(`
      "TITLE

      one two three four five six eight
      (https://nine)

      • an item that is longer than the forty
        columns of it and goes on
      • another

          a command that is longer than the forty columns of the terminal"
    `);
  });

  test('shares the width among the columns of a table', () => {
    const page = '| a | b |\n| - | - |\n| `x \\| y` | some words that do not fit into the line |';
    expect(render(page, 40)).toMatchInlineSnapshot(`
      "┌───────┬──────────────────────────────┐
      │ a     │ b                            │
      ├───────┼──────────────────────────────┤
      │ x | y │ some words that do not fit   │
      │       │ into the line                │
      └───────┴──────────────────────────────┘"
    `);
  });

  test('shows a table that is too wide as records, and cuts no word', () => {
    const page = `| a | b |\n| - | - |\n| ${'x'.repeat(30)} | ${'y'.repeat(30)} |`;
    expect(render(page, 40)).toBe(`${'x'.repeat(30)}\n    b: ${'y'.repeat(30)}`);
  });

  test('leaves out comments for generators, and text that only looks like a comment stays', () => {
    expect(render('<!-- generated: x -->\n\ntext `<b>`\n\n<!-- end -->')).toBe('text <b>');
  });

  test('loses no word of any manual', async () => {
    const words = (text: string): readonly string[] => text.match(/[\p{L}\p{N}]+/gu) ?? [];
    for (const { text, topic } of await readManuals()) {
      const shown = new Set(
        words(stripVTControlCharacters(renderMarkdown(text, { paint: paintFor(true), columns: 200 })).toLowerCase()),
      );
      const prose = text
        .replace(/<!--[^]*?-->/g, '')
        .replace(/^\s*```.*$/gm, '')
        .replace(/\]\((?!https?:)[^)]*\)/g, ']')
        .replace(/^\s*<[^>]+>\s*$/gm, '');
      expect(
        words(prose.toLowerCase()).filter((word) => !shown.has(word)),
        topic,
      ).toEqual([]);
    }
  });
});
