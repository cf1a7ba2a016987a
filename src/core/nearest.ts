/** Suggestions for misspelled names. */
import { closest, distance } from 'fastest-levenshtein';

/** The known name closest to `name` by edit distance, if close enough to be a misspelling. A snake_case name matches its camelCase form. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined;
  const camelCase = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  if (known.includes(camelCase)) return camelCase;
  const candidate = closest(name, [...known]);
  return distance(name, candidate) <= Math.max(2, Math.floor(name.length / 3)) ? candidate : undefined;
}

/** `; did you mean X?` as the end of a message; empty when no name is close enough. */
export function didYouMean(name: string, known: readonly string[]): string {
  const candidate = nearest(name, known);
  return candidate === undefined ? '' : `; did you mean ${candidate}?`;
}
