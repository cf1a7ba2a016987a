/** Longest encoded token, in characters. */
export const MAX_TOKEN_LENGTH = 128;

const KEPT = /[A-Za-z0-9_-]/;

/**
 * Any text as one subject or key token: `[A-Za-z0-9_-]` unchanged, every other UTF-8 byte `=HH` (upper case).
 * Injective and reversible.
 */
export function enc(text: string): string {
  let token = '';
  for (const byte of new TextEncoder().encode(text)) {
    const char = String.fromCharCode(byte);
    token += KEPT.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token;
}

/** The text of a token; `undefined` where the token is not canonical (`enc(dec(t)) !== t`), empty or too long. */
export function dec(token: string): string | undefined {
  if (token === '' || token.length > MAX_TOKEN_LENGTH) return undefined;
  const bytes: number[] = [];
  for (let i = 0; i < token.length; i += 1) {
    const char = token.charAt(i);
    if (char === '=') {
      const hex = token.slice(i + 1, i + 3);
      if (!/^[0-9A-F]{2}$/.test(hex)) return undefined;
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else if (KEPT.test(char)) bytes.push(char.charCodeAt(0));
    else return undefined;
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    return enc(text) === token ? text : undefined;
  } catch {
    return undefined; // not UTF-8
  }
}

/** Whether `text` can be a tenant or run id: well-formed (a lone surrogate has no UTF-8), 1 to 128 characters once encoded. */
export function isTokenText(text: string): boolean {
  if (!text.isWellFormed()) return false;
  const length = enc(text).length;
  return length >= 1 && length <= MAX_TOKEN_LENGTH;
}

/** A queue's name: part of subjects and consumer names, so not encoded. */
export const QUEUE_PATTERN = /^[A-Za-z0-9_-]{1,32}$/;

/** Tenant of clients that name none. */
export const DEFAULT_TENANT = 'default';
/** Queue of runs that name none and are a worker's. */
export const DEFAULT_QUEUE = 'default';
/** Queue of runs that name none and are an executor's. */
export const DEFAULT_EXECUTOR_QUEUE = 'executor';

/** Queue of runs whose client named none, by operator: `command` belongs to executors, everything else to workers. */
export function queueOf(operator: string | undefined): string {
  return operator === 'command' ? DEFAULT_EXECUTOR_QUEUE : DEFAULT_QUEUE;
}
