/** Dates as label values, which may not contain ":" or "+". Dates are ISO 8601 texts: a `Date` would lose offset and microseconds. @see spec executor §7.4 */

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?(Z|[+-]\d{2}:?\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?)?$/;

/**
 * A date the way the seed writes it: seconds always, six digits of a fraction or none, an offset only where one was given (`Z` is `+00:00`).
 * @throws RangeError for what is no date
 */
export function isoText(date: string | Date): string {
  const text = typeof date === 'string' ? date.trim() : date.toISOString();
  const [, day, time = '00:00:00', fraction = '', zone = ''] = ISO.exec(text) ?? [];
  const real = new Date(`${day ?? ''}T00:00:00Z`);
  if (day === undefined || Number.isNaN(real.getTime()) || !real.toISOString().startsWith(day))
    throw new RangeError(`not an ISO 8601 date: ${JSON.stringify(text)}`);
  const seconds = time.length === 5 ? `${time}:00` : time;
  const [hours = 24, minutes = 60, second = 60] = seconds.split(':').map(Number);
  if (hours > 23 || minutes > 59 || second > 59) throw new RangeError(`not a time of day: ${JSON.stringify(text)}`);
  const micros = fraction.padEnd(6, '0').slice(0, 6);
  const offset = zone === 'Z' ? '+00:00' : zone.replace(/^([+-]\d{2})(\d{2})/, '$1:$2');
  return `${day}T${seconds}${/^0*$/.test(micros) ? '' : `.${micros}`}${offset}`;
}

/** A date as a label value: `2024-01-02T03_04_05_plus_00_00`. @throws RangeError for what is no date */
export function datetimeToLabelSafeDatestring(date: string | Date): string {
  return isoText(date).replaceAll(':', '_').replaceAll('+', '_plus_');
}

/** The date behind a label value, as ISO text. @throws RangeError where there is none */
export function labelSafeDatestringToDatetime(text: string): string {
  return isoText(text.replaceAll('_plus_', '+').replaceAll('_', ':'));
}
