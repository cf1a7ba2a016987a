/** Writes the generated parts of the manuals and of the chart from the code that they describe; with `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { chartFiles } from '../test/support/chart.ts';
import { sections } from '../test/support/readme.ts';

const root = new URL('../', import.meta.url);

/** A manual with its generated parts made anew. Throws where a part has no place in it. */
async function manual(name: string, parts: Readonly<Record<string, string>>): Promise<string> {
  const path = new URL(name, root);
  let text = readFileSync(path, 'utf8');
  for (const [part, generated] of Object.entries(parts)) {
    const place = new RegExp(`(<!-- generated: ${part} -->\n)[^]*?(<!-- end -->)`);
    if (!place.test(text)) throw new Error(`${name} has no place for the generated part ${part}`);
    text = text.replace(place, (_, head: string, tail: string) => `${head}\n${generated}\n\n${tail}`);
  }
  // Prettier owns the tables' widths.
  return format(text, { ...(await resolveConfig(path)), parser: 'markdown' });
}

const files: Record<string, string> = { ...chartFiles() };
for (const [name, parts] of Object.entries(sections())) files[name] = await manual(name, parts);
for (const [name, content] of Object.entries(files)) {
  const file = new URL(name, root);
  if (!process.argv.includes('--check')) writeFileSync(file, content);
  else if (readFileSync(file, 'utf8') !== content) {
    console.error(`${name} does not match the code; run: npm run docs`);
    process.exitCode = 1;
  }
}
