/** Patterns over names: `*` stands for text without `/`, `**` for any text. Pure. */

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
