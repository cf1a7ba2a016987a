/** Names of pods: Airflow's rules with a deterministic suffix. */
import { createHash } from 'node:crypto';
import unidecode from 'unidecode';
import type { RunKey } from '../../wire/subjects.ts';

/** Longest name that can also be a label value or hostname. */
export const MAX_POD_NAME = 63;
const SUFFIX_LENGTH = 10;
/** Characters of a name before `-` and the suffix. */
const KEPT_NAME = MAX_POD_NAME - SUFFIX_LENGTH - 1;
const MAX_GIVEN_NAME = 220;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** Alphabet of Airflow's random suffixes. reentry's suffixes are not random and use its base32 subset. */
export const alphanumLower = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** RFC 4648 base32 in lower case; the first `length` characters. */
function base32(bytes: Uint8Array, length: number): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5 && text.length < length) {
      bits -= 5;
      text += BASE32.charAt((value >> bits) & 31);
    }
    value &= (1 << bits) - 1;
    if (text.length === length) break;
  }
  return text;
}

/**
 * The ten characters that make a pod's name unique to its attempt. Deterministic, so creating a pod twice conflicts with itself. "/" in a
 * tenant is escaped: tenant `a/b` with run `c` differs from tenant `a` with run `b/c`.
 */
export function attemptSuffix({ tenant, runId }: RunKey, attempt: number): string {
  return base32(
    createHash('sha256')
      .update(`${tenant.replace(/[=/]/g, encodeURIComponent)}/${runId}/${String(attempt)}`)
      .digest(),
    SUFFIX_LENGTH,
  );
}

/** What is wrong with a pod name that a user gave; `undefined` if valid. */
export function nameProblem(name: string): string | undefined {
  if (name.length > MAX_GIVEN_NAME) return `is longer than ${String(MAX_GIVEN_NAME)} characters`;
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) return 'may contain letters, digits, "_", "." and "-" only';
  if (name.includes('..')) return 'may not contain ".."';
  if (!/[A-Za-z0-9]/.test(name)) return 'needs a letter or a digit';
  return undefined;
}

const DNS_LABEL = /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** What is wrong with the name of a namespace or container (a DNS-1123 label); `undefined` if valid. */
export function dnsLabelProblem(name: string, what: 'namespace' | 'container name'): string | undefined {
  if (DNS_LABEL.test(name)) return undefined;
  return `is no ${what}: up to 63 lower-case letters, digits and "-", a letter or digit at both ends`;
}

/** The namespace of pods for which neither parameters nor template name one: the first of `candidates` that is not empty, else `default`. */
export function defaultNamespace(...candidates: readonly (string | null | undefined)[]): string {
  return candidates.map((name) => name?.trim()).find((name) => name !== undefined && name !== '') ?? 'default';
}

/** A given name in Kubernetes' alphabet: lower case, any other characters replaced by one dash, none at the ends (where Airflow leaves them). */
export function normalizeName(name: string): string {
  return (
    name
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      // The lookbehind keeps this linear: without it, each dash of a long run of dashes would start a search of its own.
      .replace(/^-+|(?<!-)-+$/g, '')
  );
}

/** HTML entities of characters that a name drops, and of letters with diacritics. */
const ENTITY = /&(?:amp|lt|gt|quot|apos|nbsp);/gi;
const MARKED = /&([a-z])(?:acute|grave|uml|circ|tilde|cedil|ring|slash|caron);/gi;
const NUMBERED = /&#(?:(\d{1,7})|x([0-9a-f]{1,6}));/gi;

const numbered = (_: string, decimal?: string, hex?: string): string => {
  const code = decimal === undefined ? Number.parseInt(hex ?? '0', 16) : Number(decimal);
  return code > 0x10ffff ? '-' : String.fromCodePoint(code);
};

/**
 * An id as a name: transliterated to ASCII, lower case, words joined by single dashes; can be empty. Apostrophes join, thousands separators
 * of numbers are removed, HTML entities separate words. The table is python-slugify's, as used by Airflow.
 */
export function slugify(text: string): string {
  let ascii = '';
  // Character by character: for a longer text, the table's own function skips what looks like UTF-8.
  for (const character of text.replace(/'+/g, '-').normalize('NFKD')) ascii += unidecode(character);
  return ascii
    .replace(ENTITY, '-')
    .replace(MARKED, '$1')
    .replace(NUMBERED, numbered)
    .normalize('NFKD')
    .replace(/\p{Mark}+/gu, '')
    .toLowerCase()
    .replace(/'+/g, '')
    .replace(/(?<=\d),(?=\d)/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** Airflow's `create_unique_id` without its random part: ids joined, slugified, cut. @param maxLength in characters */
export function createUniqueId(ids: readonly string[], maxLength: number = MAX_POD_NAME): string {
  return slugify(ids.join('-'))
    .slice(0, maxLength)
    .replace(/^[-.]+|[-.]+$/g, '');
}

/** Name of pods when a given name has no legal character. */
const NAMELESS = 'pod';

/**
 * Airflow's `add_unique_suffix` with a given suffix: the name is cut so that both fit, without dashes and dots at the cut. A name without
 * other characters becomes `pod`, as far as there is room, because Kubernetes refuses a leading dash.
 * @param maxLength in characters
 */
export function addSuffix(name: string, suffix: string, maxLength: number = MAX_POD_NAME): string {
  const room = Math.max(0, maxLength - suffix.length - 1);
  const cut = Array.from(name)
    .slice(0, room)
    .join('')
    .replace(/^[-.]+|[-.]+$/g, '');
  const kept = cut === '' ? NAMELESS.slice(0, room) : cut;
  return kept === '' ? suffix.slice(0, maxLength) : `${kept}-${suffix}`;
}

/** A DNS-1123 subdomain. */
const VALID_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Whether `name` is a valid pod name. */
export function isPodName(name: string): boolean {
  return VALID_NAME.test(name);
}

/**
 * The name of an attempt's pod: the given (or template's) name, else the task's id, else `pod`; cut to 52 characters and followed by `-`
 * and ten characters of the attempt's hash. With `randomNameSuffix: false` a valid name is used unchanged. The result is always valid.
 */
export function podName(
  wanted: {
    readonly name?: string | undefined;
    readonly taskId?: string | undefined;
    readonly randomNameSuffix: boolean;
  },
  run: RunKey,
  attempt: number,
): string {
  const given = wanted.name ?? createUniqueId([wanted.taskId ?? NAMELESS]);
  const valid = isPodName(given) ? given : slugify(given).slice(0, MAX_GIVEN_NAME).replace(/-+$/, '');
  if (!wanted.randomNameSuffix && valid !== '') return valid;
  return addSuffix(valid.slice(0, KEPT_NAME), attemptSuffix(run, attempt));
}
