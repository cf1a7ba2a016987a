/** The header `Retry-After`. Pure: the time is an argument. */

/** As servers write it today, and the two older forms that a reader must still take. @see RFC 9110 §5.6.7 */
const HTTP_DATES: readonly RegExp[] = [
  /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/,
];

/**
 * Whole seconds that the header asks to wait: a number, or until an HTTP date (0 where that is over). Anything else says nothing.
 * @param nowMs epoch milliseconds
 * @see RFC 9110 §10.2.3
 */
export function secondsAsked(header: string | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text);
  if (!HTTP_DATES.some((form) => form.test(text))) return undefined;
  // The oldest form does not name its zone, which is the others'.
  const at = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - nowMs) / 1000));
}
