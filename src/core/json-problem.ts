/** Where a text stops being JSON. The engine's own message names a position only sometimes, and quotes the text. */

/** A place in a text that is not JSON. Lines and columns count from 1, `offset` in UTF-16 units from 0. */
export interface JsonProblem {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
  /** What stood there, or that the text ended. */
  readonly found: string;
}

/** A mark, a word, a number, or the start of a string. */
const TOKEN = /([{}[\],:])|(true|false|null)|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(")/y;
const BLANK = /[ \t\n\r]*/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** What may come next: a value, a value or the list's end, a key or the object's end, a key, a colon, a comma or the end, nothing. */
type Expected = 'value' | 'value or ]' | 'key or }' | 'key' | ':' | ', or end' | 'end';

/** The first place where `text` is not JSON; undefined where it is. */
export function jsonProblem(text: string): JsonProblem | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    return problemAt(text, offsetOfProblem(text));
  }
}

function offsetOfProblem(text: string): number {
  const open: ('[' | '{')[] = [];
  let expected: Expected = 'value';
  for (let at = 0; ;) {
    const start = endOf(BLANK, text, at);
    TOKEN.lastIndex = start;
    const match = TOKEN.exec(text);
    const next: Expected | undefined = match === null ? undefined : after(expected, match, open);
    if (match === null || next === undefined) return start;
    expected = next;
    at = start + match[0].length;
    if (match[4] === undefined) continue;
    at = endOfString(text, at);
    if (text.charAt(at) !== '"') return at;
    at += 1;
  }
}

/** Where what `pattern` matches from `at` on ends. */
function endOf(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return at + (pattern.exec(text)?.[0].length ?? 0);
}

/** The closing quote's place, or that of what cannot stand in a string. */
function endOfString(text: string, from: number): number {
  for (let at = from; ;) {
    at = endOf(PLAIN, text, at);
    const next = endOf(ESCAPE, text, at);
    if (next === at) return at;
    at = next;
  }
}

/** What is expected after this token, given what was; undefined: the token is wrong here. */
function after(expected: Expected, match: RegExpExecArray, open: ('[' | '{')[]): Expected | undefined {
  const [, mark, word, number, string] = match;
  const closed = (): Expected => {
    open.pop();
    return open.length === 0 ? 'end' : ', or end';
  };
  const isValue = word !== undefined || number !== undefined || string !== undefined;
  switch (expected) {
    case 'value':
    case 'value or ]':
      if (isValue) return open.length === 0 ? 'end' : ', or end';
      if (mark === ']' && expected === 'value or ]') return closed();
      if (mark !== '[' && mark !== '{') return undefined;
      open.push(mark);
      return mark === '[' ? 'value or ]' : 'key or }';
    case 'key or }':
      if (mark === '}') return closed();
      return string === undefined ? undefined : ':';
    case 'key':
      return string === undefined ? undefined : ':';
    case ':':
      return mark === ':' ? 'value' : undefined;
    case ', or end':
      if (mark === ',') return open.at(-1) === '[' ? 'value' : 'key';
      return mark === (open.at(-1) === '[' ? ']' : '}') ? closed() : undefined;
    case 'end':
      return undefined;
  }
}

function problemAt(text: string, offset: number): JsonProblem {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const character = String.fromCodePoint(text.codePointAt(offset) ?? 0);
  const found = offset >= text.length ? 'the end' : JSON.stringify(character);
  return { offset, line, column: offset - before.lastIndexOf('\n'), found };
}
