import { parse, type ParseError } from 'jsonc-parser';
import ts from 'typescript';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { commandParamsSchema } from '../../src/operator/command-params.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { type Fence, fencesOf, manuals, ROOT } from '../support/manuals.ts';

const fences = manuals().flatMap(fencesOf);
const at = ({ manual, line }: Fence): string => `${manual}:${String(line)}`;

test('every TypeScript example compiles against the sources', { timeout: 120_000 }, () => {
  const examples = new Map(
    fences
      .filter(({ language }) => language === 'ts')
      .map((fence): [string, Fence] => [
        `${ROOT}src/example-${fence.manual.replace(/\W/g, '-')}-${String(fence.line)}.ts`,
        fence,
      ]),
  );
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(`${ROOT}tsconfig.json`, (path) => ts.sys.readFile(path)).config,
    ts.sys,
    ROOT,
  );
  options.paths = { reentry: ['./src/index.ts'], 'reentry/client': ['./src/client/index.ts'] };
  const host = ts.createCompilerHost(options);
  const read = host.readFile.bind(host);
  const exists = host.fileExists.bind(host);
  host.readFile = (path) => examples.get(path)?.text ?? read(path);
  host.fileExists = (path) => examples.has(path) || exists(path);
  const program = ts.createProgram([...examples.keys()], options, host);
  const problems = [...examples].flatMap(([path, fence]) => {
    const source = program.getSourceFile(path);
    return ts
      .getPreEmitDiagnostics(program, source)
      .filter(({ file }) => file === source)
      .map(({ messageText }) => `${at(fence)}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
  });
  expect(examples.size).toBeGreaterThan(4);
  expect(problems).toEqual([]);
});

test.each(fences.filter(({ marker }) => marker === 'request').map((fence): [string, Fence] => [at(fence), fence]))(
  'the request at %s is valid',
  (_, { text }) => {
    const errors: ParseError[] = [];
    const request: unknown = parse(text, errors, { allowTrailingComma: true });
    expect(errors).toEqual([]);
    const { operator, params } = runRequestSchema.parse(request);
    const schemas = new Map<string, z.ZodType>([
      ['pod', podParamsSchema],
      ['command', commandParamsSchema],
    ]);
    expect(schemas.get(operator)?.safeParse(params).error).toBeUndefined();
  },
);
