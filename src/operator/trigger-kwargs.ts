/** The seed's `trigger_kwargs`: what a request has its events carry along. @see spec pod-operator §5.4, errata 20 */
import type { JsonRecord } from '../core/json.ts';

/** The event with the values that its run wants carried, but for those named as one of `fields`: these are the event's own, present or not. */
export function withKwargs<Event extends object>(
  event: Event,
  kwargs: JsonRecord,
  fields: Readonly<Record<string, unknown>>,
): Event {
  const carried = Object.fromEntries(Object.entries(kwargs).filter(([name]) => !Object.hasOwn(fields, name)));
  return { ...carried, ...event };
}
