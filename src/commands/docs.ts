import type { Command } from 'commander';
import { EXIT_CODES } from './exit-codes.ts';
import { manualOf, readManuals } from './manuals.ts';
import { renderMarkdown } from './markdown.ts';
import { paintFor } from './paint.ts';
import { action, declare } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** Width where the terminal does not report one. */
const USUAL_COLUMNS = 100;

/** `reentry docs`: the manuals that ship with the package. */
export function docsCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'docs',
    summary: 'show a manual, or list the manuals',
    settings: [],
    examples: [
      'reentry docs',
      'reentry docs operator | less -R',
      'reentry docs wire > wire.md    # Markdown where stdout is no terminal',
      'reentry docs helm --json | jq -r .text',
    ],
  }).argument('[topic]', 'a topic of the list; without it, the list');
  return action(command, shell, finish, async ({ json }, _options, [topic]) => {
    const manuals = await readManuals();
    const paint = paintFor(shell.colour);
    if (topic === undefined) {
      const width = Math.max(...manuals.map((manual) => manual.topic.length));
      if (json)
        shell.out(
          JSON.stringify({ topics: manuals.map(({ topic: name, title, path }) => ({ topic: name, title, path })) }),
        );
      else for (const one of manuals) shell.out(`${paint.bold(one.topic.padEnd(width))}  ${one.title}`);
      return EXIT_CODES.ok;
    }
    const manual = manualOf(manuals, topic);
    if (json) shell.out(JSON.stringify(manual));
    else if (shell.outIsTty) shell.out(renderMarkdown(manual.text, { paint, columns: shell.columns ?? USUAL_COLUMNS }));
    else shell.out(manual.text.trimEnd());
    return EXIT_CODES.ok;
  });
}
