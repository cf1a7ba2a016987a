/** Finds the first syntax error of a text that should be JSON. The engine's own message often has no position, and quotes the text. */
import { type ParseErrorCode, printParseErrorCode, visit } from 'jsonc-parser';

/** A syntax error. `line` and `column` count from 1, `offset` from 0 in UTF-16 units. */
export interface JsonProblem {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
  /** Kind of the error, in words: `comma expected`, `unexpected end of string`. Quotes nothing of the text. */
  readonly what: string;
}

/** The first syntax error, `undefined` for valid JSON. An error inside a string is reported at the start of that string. */
export function jsonProblem(text: string): JsonProblem | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    const { offset, what } = firstError(text);
    const before = text.slice(0, offset);
    return { offset, line: before.split('\n').length, column: offset - before.lastIndexOf('\n'), what };
  }
}

function firstError(text: string): Pick<JsonProblem, 'offset' | 'what'> {
  let first: Pick<JsonProblem, 'offset' | 'what'> | undefined;
  let deepest = 0;
  const begin = (offset: number): void => {
    deepest = offset;
  };
  const onError = (code: ParseErrorCode, offset: number): void => {
    // `CommaExpected` → `comma expected`
    first ??= {
      offset,
      what: printParseErrorCode(code)
        .replace(/(?<!^)[A-Z]/g, ' $&')
        .toLowerCase(),
    };
  };
  try {
    visit(text, { onError, onArrayBegin: begin, onObjectBegin: begin }, { disallowComments: true });
  } catch (error) {
    // The parser is recursive; the engine's is not.
    if (!(error instanceof RangeError)) throw error;
    first ??= { offset: deepest, what: 'nested too deeply' };
  }
  return first ?? { offset: 0, what: 'invalid' };
}
