/**
 * Paths of manifest fields as policies name them: `spec.containers.*.env`, `metadata.annotations.example.com/role`, and for what they cannot
 * say so `metadata.annotations['example.com/role']`. A manifest's key may have dots in it and is still one part of its path. Pure.
 */
/** Longer than any name that Kubernetes or a registry has; what is longer fits nothing. */
const MAX_NAME_LENGTH = 1_024;

/**
 * Whether `text` fits the pattern: `**` is any text, `*` any without `/`, everything else itself. All places at once, without going back: a
 * text of the requester's must not make a worker search.
 */
export function fits(pattern: string, text: string): boolean {
  if (text.length > MAX_NAME_LENGTH) return false;
  // Where in the text the parts read so far can end.
  let ends = new Set([0]);
  for (const part of pattern.match(/\*\*|\*|[^*]+/g) ?? []) {
    const next = new Set<number>();
    for (const end of ends) {
      if (!part.startsWith('*')) {
        if (text.startsWith(part, end)) next.add(end + part.length);
        continue;
      }
      // A place that is known already leads to all that come after it.
      for (let at = end; at <= text.length && !next.has(at); at += 1) {
        next.add(at);
        if (part === '*' && text[at] === '/') break;
      }
    }
    ends = next;
  }
  return ends.has(text.length);
}

/** One part of a pattern as it is written. */
export interface FieldPart {
  readonly text: string;
  /** In brackets or quotes: one whole key, dots and all. Otherwise some neighbours together may be one key with dots. */
  readonly isWhole: boolean;
}

/** A pattern that can be held against paths. */
export interface FieldPattern {
  readonly text: string;
  /** What a key may be from each part on. */
  readonly steps: readonly Step[];
}

interface Step {
  /** A key that is this part alone. */
  readonly alone: (key: string) => boolean;
  /** A key with dots, that is this part and some after it. */
  readonly joined: readonly { readonly fits: (key: string) => boolean; readonly next: number }[];
}

const PLAIN = String.raw`[^.[\]'"\s]+`;
const BEGINNING = new RegExp(`^(${PLAIN})`);
const MORE = new RegExp(String.raw`^(?:\.(${PLAIN})|\.?\['([^']+)'\]|\.?\["([^"]+)"\]|\."([^"]+)"|\.?\[(\d+|\*)\])`);

/** The parts of a pattern; `undefined`: it is not written as one. */
export function fieldParts(text: string): readonly FieldPart[] | undefined {
  const [beginning] = BEGINNING.exec(text) ?? [];
  if (beginning === undefined) return undefined;
  const parts: FieldPart[] = [{ text: beginning, isWhole: false }];
  let rest = text.slice(beginning.length);
  while (rest !== '') {
    const found = MORE.exec(rest);
    if (found === null) return undefined;
    const [all, plain, ...whole] = found;
    parts.push({ text: plain ?? whole.join(''), isWhole: plain === undefined });
    rest = rest.slice(all.length);
  }
  return parts;
}

/** What one key may be, as a test. `*` alone is any key; within a name it is text without `/`, as in all patterns of policies. */
function keyTest(glob: string): (key: string) => boolean {
  if (glob === '*') return () => true;
  return glob.includes('*') ? (key) => fits(glob, key) : (key) => key === glob;
}

/** A pattern made ready. What is not written as one covers nothing: the file's schema has refused it. */
export function fieldPattern(text: string): FieldPattern {
  const parts = fieldParts(text) ?? [];
  const steps = parts.map(({ text: first, isWhole }, from): Step => {
    const joined: Step['joined'][number][] = [];
    let glob = first;
    for (let next = from + 1; !isWhole; next += 1) {
      const part = parts[next];
      if (part === undefined || part.isWhole) break;
      glob += `.${part.text}`;
      joined.push({ fits: keyTest(glob), next: next + 1 });
    }
    return { alone: keyTest(first), joined };
  });
  return { text, steps };
}

/** Patterns on their way down a path: of each, the parts that can come next. */
export type Reading = readonly { readonly pattern: FieldPattern; readonly open: readonly number[] }[];

/** Patterns before the first key. */
export const readingOf = (patterns: readonly FieldPattern[]): Reading =>
  patterns.map((pattern) => ({ pattern, open: [0] }));

/** One key further: the first pattern that names this place, or those that can still name something below it. */
export function readOn(reading: Reading, key: string): { readonly named?: FieldPattern; readonly reading: Reading } {
  if (reading.length === 0) return { reading };
  const isDotted = key.includes('.');
  const further: Reading[number][] = [];
  for (const { pattern, open } of reading) {
    const next = new Set<number>();
    // A key with dots may be read in several ways.
    for (const from of open) {
      const step = pattern.steps[from];
      if (step?.alone(key) === true) next.add(from + 1);
      if (isDotted) for (const one of step?.joined ?? []) if (one.fits(key)) next.add(one.next);
    }
    if (next.has(pattern.steps.length)) return { named: pattern, reading: [] };
    if (next.size > 0) further.push({ pattern, open: [...next] });
  }
  return { reading: further };
}

/** Whether the pattern names the path or something that it is below. */
export function covers(pattern: FieldPattern, path: readonly string[]): boolean {
  let reading = readingOf([pattern]);
  for (const key of path) {
    const { named, reading: further } = readOn(reading, key);
    if (named !== undefined) return true;
    reading = further;
  }
  return false;
}
