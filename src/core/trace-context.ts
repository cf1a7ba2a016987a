/** W3C trace context: which trace a run belongs to, as one header's text. @see https://www.w3.org/TR/trace-context/#traceparent-header */

/** Version 00: trace id, parent span id, flags. */
export const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The text where it is a trace context, else nothing: a broken one must not break a run. */
export function traceparentIn(text: string | undefined): string | undefined {
  return text !== undefined && TRACEPARENT.test(text) ? text : undefined;
}
