/**
 * Patterns of policies: over names (`team-*`, `registry.example.com/**`) and over paths of manifest fields (`spec.containers.*.env`,
 * `metadata.annotations.example.com/role`, `metadata.annotations['example.com/role']`). A key of the manifest can contain dots and is still
 * one part of its path. Pure.
 */

/** In characters. Longer than any name in Kubernetes or a registry; longer text matches nothing. */
const MAX_NAME_LENGTH = 1_024;

/**
 * Whether `text` matches the pattern: `**` is any text, `*` any text without `/`, everything else is literal. Follows all possible positions
 * at once, without backtracking, so that hostile text cannot keep a worker busy.
 */
export function matches(pattern: string, text: string): boolean {
  if (text.length > MAX_NAME_LENGTH) return false;
  // Positions in the text where the pattern read so far can end.
  let ends = new Set([0]);
  for (const part of pattern.match(/\*\*|\*|[^*]+/g) ?? []) {
    const next = new Set<number>();
    for (const end of ends) {
      if (!part.startsWith('*')) {
        if (text.startsWith(part, end)) next.add(end + part.length);
        continue;
      }
      // From a known position, all later ones are already known.
      for (let at = end; at <= text.length && !next.has(at); at += 1) {
        next.add(at);
        if (part === '*' && text[at] === '/') break;
      }
    }
    ends = next;
  }
  return ends.has(text.length);
}

/** One part of a path pattern, as written. */
export interface FieldPart {
  readonly text: string;
  /** In brackets or quotes: one whole key, which can contain dots. Otherwise neighbouring parts can together be one key with dots. */
  readonly isWhole: boolean;
}

/** A compiled path pattern. */
export interface FieldPattern {
  readonly text: string;
  /** One per part: which keys it matches. */
  readonly steps: readonly Step[];
}

interface Step {
  /** Matches a key that is this part alone. */
  readonly alone: (key: string) => boolean;
  /** Matches a key with dots that is this part and following ones; `next` is the part after those. */
  readonly joined: readonly { readonly matches: (key: string) => boolean; readonly next: number }[];
}

const PLAIN = String.raw`[^.[\]'"\s]+`;
const BEGINNING = new RegExp(`^(${PLAIN})`);
const MORE = new RegExp(String.raw`^(?:\.(${PLAIN})|\.?\['([^']+)'\]|\.?\["([^"]+)"\]|\."([^"]+)"|\.?\[(\d+|\*)\])`);

/** The parts of a path pattern; `undefined` when the syntax is wrong. */
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

/** A test for one key. `*` alone matches any key; inside a name it matches text without `/`, as in all patterns. */
function keyTest(glob: string): (key: string) => boolean {
  if (glob === '*') return () => true;
  return glob.includes('*') ? (key) => matches(glob, key) : (key) => key === glob;
}

/** A compiled pattern. Wrong syntax, which the schema of the policy file refuses, matches nothing. */
export function fieldPattern(text: string): FieldPattern {
  const parts = fieldParts(text) ?? [];
  const steps = parts.map(({ text: first, isWhole }, from): Step => {
    const joined: Step['joined'][number][] = [];
    let glob = first;
    for (let next = from + 1; !isWhole; next += 1) {
      const part = parts[next];
      if (part === undefined || part.isWhole) break;
      glob += `.${part.text}`;
      joined.push({ matches: keyTest(glob), next: next + 1 });
    }
    return { alone: keyTest(first), joined };
  });
  return { text, steps };
}

/** Patterns while a path is matched key by key: for each, the parts that can come next. */
export type Reading = readonly { readonly pattern: FieldPattern; readonly open: readonly number[] }[];

/** The state before the first key. */
export const readingOf = (patterns: readonly FieldPattern[]): Reading =>
  patterns.map((pattern) => ({ pattern, open: [0] }));

/** The state one key further: the first pattern that matches the path so far, or those that can still match below it. */
export function readOn(reading: Reading, key: string): { readonly named?: FieldPattern; readonly reading: Reading } {
  if (reading.length === 0) return { reading };
  const isDotted = key.includes('.');
  const further: Reading[number][] = [];
  for (const { pattern, open } of reading) {
    const next = new Set<number>();
    // A key with dots can match in several ways.
    for (const from of open) {
      const step = pattern.steps[from];
      if (step?.alone(key) === true) next.add(from + 1);
      if (isDotted) for (const one of step?.joined ?? []) if (one.matches(key)) next.add(one.next);
    }
    if (next.has(pattern.steps.length)) return { named: pattern, reading: [] };
    if (next.size > 0) further.push({ pattern, open: [...next] });
  }
  return { reading: further };
}

/** Whether the pattern matches the path or a parent of it. */
export function patternCovers(pattern: FieldPattern, path: readonly string[]): boolean {
  let reading = readingOf([pattern]);
  for (const key of path) {
    const { named, reading: further } = readOn(reading, key);
    if (named !== undefined) return true;
    reading = further;
  }
  return false;
}
