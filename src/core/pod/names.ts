/** Names of pods: the specification's rules, and our deterministic suffix. @see spec pod-operator §2.4 and §4.1, protocol §1 */
import { createHash } from 'node:crypto';
import unidecode from 'unidecode';
import type { RunKey } from '../../wire/subjects.ts';

/** A name used as a label or hostname. */
export const MAX_POD_NAME = 63;
const SUFFIX_LENGTH = 10;
/** What is left of a name before `-` and the suffix. */
const KEPT_NAME = MAX_POD_NAME - SUFFIX_LENGTH - 1;
const MAX_GIVEN_NAME = 220;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** Letters and digits of the seed's random suffixes. Ours are not random and use the part of them that base32 does. */
export const alphanumLower = 'abcdefghijklmnopqrstuvwxyz0123456789';

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

const DNS_LABEL = /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** What is wrong with a namespace's name (a DNS-1123 label); `undefined` when nothing is. It is part of paths of the API. */
export function namespaceProblem(name: string): string | undefined {
  if (DNS_LABEL.test(name)) return undefined;
  return 'is no namespace: up to 63 lower-case letters, digits and "-", a letter or digit at both ends';
}

/** The namespace where neither parameters nor template name one: the first of the connection's own places that does, else `default`. @see spec pod-operator §2.5 */
export function defaultNamespace(...places: readonly (string | null | undefined)[]): string {
  return places.map((place) => place?.trim()).find((place) => place !== undefined && place !== '') ?? 'default';
}

/** What is wrong with a container's name (a DNS-1123 label); `undefined` when nothing is. */
export function containerNameProblem(name: string): string | undefined {
  if (DNS_LABEL.test(name)) return undefined;
  return 'is no container name: up to 63 lower-case letters, digits and "-", a letter or digit at both ends';
}

/** A given name as Kubernetes takes it: lower case, every other run of characters one dash, none at the ends (ours: the seed leaves those). */
export function normalizeName(name: string): string {
  return (
    name
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      // The look behind: else each dash of a name of dashes begins a search of its own.
      .replace(/^-+|(?<!-)-+$/g, '')
  );
}

/** One character as ASCII, by sound; empty where there is none. By character: the table's own reader of whole texts skips what looks like UTF-8. */
const transliterated = (character: string): string => unidecode(character);

/** What HTML writes for characters that a name drops, and for letters with marks. */
const ENTITY = /&(?:amp|lt|gt|quot|apos|nbsp);/gi;
const MARKED = /&([a-z])(?:acute|grave|uml|circ|tilde|cedil|ring|slash|caron);/gi;
const NUMBERED = /&#(?:(\d{1,7})|x([0-9a-f]{1,6}));/gi;

const numbered = (_: string, decimal?: string, hex?: string): string => {
  const code = decimal === undefined ? Number.parseInt(hex ?? '0', 16) : Number(decimal);
  return code > 0x10ffff ? '-' : String.fromCodePoint(code);
};

/**
 * An id as a name: ASCII (other scripts by sound), lower case, words joined by single dashes; empty where nothing is left.
 * Apostrophes join what they stand between, digits lose their thousands separators, HTML entities separate.
 * @see spec pod-operator §2.4 (the seed slugifies with the same table)
 */
export function slugify(text: string): string {
  const ascii = Array.from(text.replace(/'+/g, '-').normalize('NFKD'), transliterated).join('');
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

/** The seed's `create_unique_id` without its random part: ids joined, slugified, cut. @param maxLength in characters */
export function createUniqueId(ids: readonly string[], maxLength: number = MAX_POD_NAME): string {
  return slugify(ids.join('-'))
    .slice(0, maxLength)
    .replace(/^[-.]+|[-.]+$/g, '');
}

/** What stands before the suffix where a name has nothing legal. */
const NAMELESS = 'pod';

/**
 * The seed's `add_unique_suffix` with a suffix of the caller's: the name cut so that both fit, without dashes and dots where it was cut.
 * A name of nothing else becomes `pod`, as far as there is room: a leading dash is refused by Kubernetes.
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

/** A pod's name as Kubernetes has it: a DNS-1123 subdomain. */
const VALID_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Whether Kubernetes takes `name` as a pod's. */
export function isPodName(name: string): boolean {
  return VALID_NAME.test(name);
}

/**
 * The name of an attempt's pod: the given (or template's) name, else the task's id, else `pod`; cut to 52 characters and
 * followed by `-` and ten characters of the attempt's hash. With `randomNameSuffix: false` a name that Kubernetes takes is used as
 * it is. Whatever is given, Kubernetes takes the outcome.
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
