/** Writes the generated parts of the README and of the chart from the code that they describe; with `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { chartFiles } from '../test/support/chart.ts';
import { sections } from '../test/support/readme.ts';

const path = new URL('../README.md', import.meta.url);
let after = readFileSync(path, 'utf8');
for (const [name, text] of Object.entries(sections())) {
  after = after.replace(
    new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- end -->)`),
    (_, head: string, tail: string) => `${head}\n${text}\n\n${tail}`,
  );
}
// Prettier owns the tables' widths.
after = await format(after, { ...(await resolveConfig(path)), parser: 'markdown' });
for (const [name, content] of [['README.md', after] as const, ...Object.entries(chartFiles())]) {
  const file = new URL(`../${name}`, import.meta.url);
  if (!process.argv.includes('--check')) writeFileSync(file, content);
  else if (readFileSync(file, 'utf8') !== content) {
    console.error(`${name} does not match the code; run: npm run docs`);
    process.exitCode = 1;
  }
}
