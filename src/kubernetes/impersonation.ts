/** Impersonation headers of a kubeconfig user. */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { scalarText } from './kubeconfig-file.ts';

/** Headers of each request; an array is sent as several headers of that name. */
export type ImpersonationHeaders = Readonly<Record<string, string | string[]>>;

/** Characters that a header cannot contain. */
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * The headers for `as`, `as-uid`, `as-groups` and `as-user-extra` of a user entry.
 * @throws Error naming the field that cannot be sent: without it, requests would have more rights than intended
 * @see https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
 */
export function impersonationOf(user: JsonRecord): ImpersonationHeaders {
  const as = textOf('as', user['as'] ?? '');
  const uid = textOf('as-uid', user['as-uid'] ?? '');
  const groups = textsOf('as-groups', user['as-groups'] ?? []);
  const extra: unknown = user['as-user-extra'] ?? {};
  if (!isRecord(extra)) throw new Error('its "as-user-extra" must map keys to lists of strings');
  const extras = Object.entries(extra).map(
    ([key, values]) => [`impersonate-extra-${escaped(key)}`, textsOf(`as-user-extra.${key}`, values ?? [])] as const,
  );
  if (as === '') {
    const without = [
      ...(uid === '' ? [] : ['as-uid']),
      ...(groups.length === 0 ? [] : ['as-groups']),
      ...(extras.length === 0 ? [] : ['as-user-extra']),
    ];
    if (without.length > 0) throw new Error(`its "${without.join('" and "')}" needs "as", the user to act as`);
    return {};
  }
  const named: readonly (readonly [string, readonly string[]])[] = [
    ['impersonate-user', [as]],
    ['impersonate-uid', uid === '' ? [] : [uid]],
    ['impersonate-group', groups],
    ...extras,
  ];
  const headers: Record<string, string | string[]> = {};
  for (const [name, values] of named) {
    // As raw bytes: headers have no other encoding.
    const [first, ...more] = values.map((value) => Buffer.from(value, 'utf8').toString('latin1'));
    if (first !== undefined) headers[name] = more.length === 0 ? first : [first, ...more];
  }
  return headers;
}

function textOf(field: string, value: unknown): string {
  const text = scalarText(value);
  if (text === undefined) throw new Error(`its "${field}" must be a string`);
  if (CONTROL.test(text)) throw new Error(`its "${field}" contains a character that HTTP headers cannot carry`);
  return text;
}

function textsOf(field: string, values: unknown): readonly string[] {
  if (!Array.isArray(values)) throw new Error(`its "${field}" must be a list of strings`);
  const texts = values.map((value: unknown) => textOf(field, value));
  if (texts.includes('')) throw new Error(`its "${field}" must not contain an empty string`);
  return texts;
}

/** A key as part of a header name, percent-encoded where needed; the server decodes it. */
function escaped(key: string): string {
  return [...Buffer.from(key, 'utf8')]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9!#$&'*+.^_`|~-]/.test(character)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}
