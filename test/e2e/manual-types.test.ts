/** The TypeScript examples of all manuals compile. An end-to-end test because it loads the whole compiler, which takes long. */
import ts from 'typescript';
import { expect, test } from 'vitest';
import { type Fence, fencesOf, manuals, ROOT } from '../support/manuals.ts';

const fences = manuals().flatMap(fencesOf);
const at = ({ manual, line }: Fence): string => `${manual}:${String(line)}`;

test('every TypeScript example compiles against the sources', () => {
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
