/** Writes the generated files of the chart from the code that they describe; with `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { chartFiles } from '../test/support/chart.ts';

for (const [path, content] of Object.entries(chartFiles())) {
  const file = new URL(`../${path}`, import.meta.url);
  if (!process.argv.includes('--check')) writeFileSync(file, content);
  else if (readFileSync(file, 'utf8') !== content) {
    console.error(`${path} does not match the code; run: npm run docs`);
    process.exitCode = 1;
  }
}
