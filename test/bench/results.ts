/** The stored figures, which the README shows and `npm run bench:check` compares with the thresholds. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { format, resolveConfig } from 'prettier';
import { z } from 'zod';

const RESULTS = new URL('results.json', import.meta.url);
const THRESHOLDS = new URL('thresholds.json', import.meta.url);

/** One figure as a bench prints it. */
export const figureLineSchema = z.looseObject({
  bench: z.string(),
  on: z.string(),
  figure: z.string(),
  value: z.number().nullable(),
  unit: z.string(),
  values: z.array(z.number().nullable()),
  bar: z.number().optional(),
  /** The bar is a minimum, not a maximum. */
  atLeast: z.boolean().optional(),
  met: z.boolean().optional(),
});
export type FigureLine = z.infer<typeof figureLineSchema>;

const resultsSchema = z.object({
  /** When and where the newest of them was measured. */
  measuredAt: z.string(),
  machine: z.string(),
  figures: z.array(figureLineSchema),
});
/** All figures of one machine. */
export type Results = z.infer<typeof resultsSchema>;

/** `bar`: a promise. `drift`: the mean of the figure when it was last set, plus 20 %; `npm run bench:check -- --update` sets it again. */
const thresholdSchema = z
  .strictObject({
    bench: z.string(),
    figure: z.string(),
    /** Name of the cluster it is for; absent: all. */
    on: z.string().optional(),
    kind: z.enum(['bar', 'drift']),
    atMost: z.number().optional(),
    atLeast: z.number().optional(),
  })
  .refine(
    ({ atMost, atLeast }) => (atMost === undefined) !== (atLeast === undefined),
    'give one of atMost and atLeast',
  );
export type Threshold = z.infer<typeof thresholdSchema>;

/** The stored figures; undefined before the first bench. */
export function readResults(): Results | undefined {
  return existsSync(RESULTS) ? resultsSchema.parse(JSON.parse(readFileSync(RESULTS, 'utf8'))) : undefined;
}

/** Stores the figures of whole benches in place of their earlier ones. */
export async function saveResults(figures: readonly FigureLine[]): Promise<void> {
  const measured = new Set(figures.map(({ bench, on }) => `${bench}/${on}`));
  const others = (readResults()?.figures ?? []).filter(({ bench, on }) => !measured.has(`${bench}/${on}`));
  const { model = 'unknown' } = cpus()[0] ?? {};
  const machine = `${String(cpus().length)} × ${model.trim()}, ${String(Math.round(totalmem() / 1024 ** 3))} GiB, ${platform()} ${arch()}, Node ${process.versions.node}`;
  await write(RESULTS, {
    measuredAt: new Date().toISOString().slice(0, 10),
    machine,
    figures: [...others, ...figures].toSorted((a, b) => (a.bench < b.bench ? -1 : a.bench > b.bench ? 1 : 0)),
  });
}

/** The stored thresholds. */
export function readThresholds(): readonly Threshold[] {
  return z.array(thresholdSchema).parse(JSON.parse(readFileSync(THRESHOLDS, 'utf8')));
}

/** Stores the thresholds. */
export async function saveThresholds(thresholds: readonly Threshold[]): Promise<void> {
  await write(THRESHOLDS, thresholds);
}

async function write(file: URL, value: unknown): Promise<void> {
  writeFileSync(file, await format(JSON.stringify(value), { ...(await resolveConfig(file)), parser: 'json' }));
}
