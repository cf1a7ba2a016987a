/** Longest path that is told of what is wrong with a request, in characters. */
const MAX_PATH = 200;
/** Longest sentence about it: longer than any of ours, shorter than what a request can have in it. */
const MAX_SENTENCE = 2_000;

/** A text of somebody else's, short enough to be told, stored and logged. Pure. */
export function shortText(text: string, most = MAX_PATH): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** A problem that does not give a hostile request back: keys of maps are part of paths, and as long as their writer likes. Pure. */
export function shortProblem({ path, message }: { readonly path: string; readonly message: string }) {
  return { path: shortText(path), message: shortText(message, MAX_SENTENCE) };
}
