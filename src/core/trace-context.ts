/** W3C trace context of a run, as the text of one header. @see https://www.w3.org/TR/trace-context/#traceparent-header */

/** Version 00: trace id, parent span id, flags. */
export const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The text if it is a valid trace context, else nothing: an invalid one must not fail a run. */
export function traceparentIn(text: string | undefined): string | undefined {
  return text !== undefined && TRACEPARENT.test(text) ? text : undefined;
}
