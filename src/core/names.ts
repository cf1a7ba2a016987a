/** Names of pods: the specification's rules, and our deterministic suffix. @see spec pod-operator §2.4 and §4.1, protocol §1 */
import { createHash } from 'node:crypto';
import type { RunKey } from '../wire/subjects.ts';

/** A name used as a label or hostname. */
export const MAX_POD_NAME = 63;
const SUFFIX_LENGTH = 10;
/** What is left of a name before `-` and the suffix. */
const KEPT_NAME = MAX_POD_NAME - SUFFIX_LENGTH - 1;
const MAX_GIVEN_NAME = 220;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** RFC 4648 base32, lower case, of the first `length` five-bit groups. */
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
 * The ten characters that make a pod's name its attempt's own. The same attempt gives the same name, so creating twice meets itself.
 * A tenant's own "/" is escaped: tenant `a/b` with run `c` is not tenant `a` with run `b/c`.
 */
export function attemptSuffix({ tenant, runId }: RunKey, attempt: number): string {
  return base32(
    createHash('sha256')
      .update(`${tenant.replace(/[=/]/g, encodeURIComponent)}/${runId}/${String(attempt)}`)
      .digest(),
    SUFFIX_LENGTH,
  );
}

/** What is wrong with a name that a user gave; `undefined` when nothing is. */
export function nameProblem(name: string): string | undefined {
  if (name.length > MAX_GIVEN_NAME) return `is longer than ${String(MAX_GIVEN_NAME)} characters`;
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) return 'may contain letters, digits, "_", "." and "-" only';
  if (name.includes('..')) return 'may not contain ".."';
  if (!/[A-Za-z0-9]/.test(name)) return 'needs a letter or a digit';
  return undefined;
}

/** A given name as Kubernetes takes it: lower case, every other run of characters one dash, none at the ends (ours: the seed leaves those). */
export function normalizeName(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** Letters that decomposition does not turn into ASCII. */
const LETTERS: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  ø: 'o',
  œ: 'oe',
  đ: 'd',
  ł: 'l',
  þ: 'th',
  ð: 'd',
  ı: 'i',
};

/** An id as a name: ASCII, lower case, words joined by single dashes; empty where nothing is left. */
export function slugify(text: string): string {
  return text
    .toLowerCase()
    .replace(/[ßæøœđłþðı]/g, (letter) => LETTERS[letter] ?? '')
    .normalize('NFKD')
    .replace(/\p{Mark}+/gu, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** The seed's `create_unique_id` without its random part: ids joined, slugified, cut. @param maxLength in characters */
export function createUniqueId(ids: readonly string[], maxLength: number = MAX_POD_NAME): string {
  return slugify(ids.join('-'))
    .slice(0, maxLength)
    .replace(/^[-.]+|[-.]+$/g, '');
}

/** The seed's `add_unique_suffix` with a suffix of the caller's; a name without anything legal gives the suffix behind `pod`. */
export function addSuffix(name: string, suffix: string, maxLength: number = MAX_POD_NAME): string {
  const kept = name.slice(0, maxLength - suffix.length - 1).replace(/^[-.]+|[-.]+$/g, '');
  return `${kept === '' ? 'pod' : kept}-${suffix}`;
}

/**
 * The name of an attempt's pod: the given (or template's) name, else the task's id, else `pod`; cut to 52 characters and
 * followed by `-` and ten characters of the attempt's hash. With `randomNameSuffix: false` the name is used as it is.
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
  const given = wanted.name === undefined ? createUniqueId([wanted.taskId ?? 'pod']) : wanted.name;
  if (!wanted.randomNameSuffix && given !== '') return given;
  return addSuffix(given.slice(0, KEPT_NAME), attemptSuffix(run, attempt));
}
