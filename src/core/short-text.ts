/** Longest path in a message, in characters. */
const MAX_PATH = 200;
/** Longest message, in characters: longer than any of reentry's own, shorter than what a request may contain. */
const MAX_SENTENCE = 2_000;

/** A text from outside, cut to `most` characters so that it can be reported, stored and logged. Pure. */
export function shortText(text: string, most = MAX_PATH): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** A problem with path and message cut: keys of maps are part of paths and can be as long as a hostile request likes. Pure. */
export function shortProblem({ path, message }: { readonly path: string; readonly message: string }) {
  return { path: shortText(path), message: shortText(message, MAX_SENTENCE) };
}
