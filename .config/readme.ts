/** Writes the generated parts of the README from the code that they describe; with `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { sections } from '../test/support/readme.ts';

const path = new URL('../README.md', import.meta.url);
const before = readFileSync(path, 'utf8');
let after = before;
for (const [name, text] of Object.entries(sections())) {
  after = after.replace(
    new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- end -->)`),
    (_, head: string, tail: string) => `${head}\n${text}\n\n${tail}`,
  );
}
// Prettier owns the tables' widths.
after = await format(after, { ...(await resolveConfig(path)), parser: 'markdown' });
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('README.md does not match the code; run: npm run docs');
    process.exitCode = 1;
  }
} else writeFileSync(path, after);
