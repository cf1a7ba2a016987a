/** The exports of `src/index.ts` as the compiler sees them, types included: names, members, docblocks. */
import ts from 'typescript';

/** One exported name. */
export interface Exported {
  readonly isDocumented: boolean;
  /** Instance and static members, or the fields of an object or interface. */
  readonly members: ReadonlyMap<string, { readonly isDocumented: boolean }>;
}

/** Every export by its name. Takes about a second. */
export function exportedNames(): ReadonlyMap<string, Exported> {
  const root = new URL('../../', import.meta.url).pathname;
  const read = (path: string) => ts.sys.readFile(path);
  const config: unknown = ts.readConfigFile(`${root}tsconfig.json`, read).config;
  // Loading the types of packages takes longer than all of these. Only zod's are needed: parameters are inferred from schemas.
  const { options } = ts.parseJsonConfigFileContent(config, { ...ts.sys, readDirectory: () => [] }, root, {
    types: [],
  });
  const host = ts.createCompilerHost(options);
  host.resolveModuleNameLiterals = (names, from) =>
    names.map(({ text }) =>
      text === 'zod' || text.startsWith('.')
        ? ts.resolveModuleName(text, from, options, host)
        : { resolvedModule: undefined },
    );
  const program = ts.createProgram([`${root}src/index.ts`], options, host);
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(`${root}src/index.ts`);
  const module = file === undefined ? undefined : checker.getSymbolAtLocation(file);
  if (module === undefined) throw new Error('src/index.ts exports nothing');

  const isDocumented = (symbol: ts.Symbol): boolean => symbol.getDocumentationComment(checker).length > 0;
  const membersOf = (symbol: ts.Symbol): Exported['members'] => {
    const found = new Map<string, { readonly isDocumented: boolean }>();
    const types: ts.Type[] = [];
    if ((symbol.flags & ts.SymbolFlags.Type) !== 0) types.push(checker.getDeclaredTypeOfSymbol(symbol));
    if ((symbol.flags & ts.SymbolFlags.Value) !== 0) types.push(checker.getTypeOfSymbol(symbol));
    for (const type of types)
      for (const member of type.getProperties()) found.set(member.name, { isDocumented: isDocumented(member) });
    return found;
  };
  return new Map(
    checker.getExportsOfModule(module).map((symbol): [string, Exported] => {
      let members: Exported['members'] | undefined;
      const original = (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
      return [
        symbol.name,
        {
          isDocumented: isDocumented(symbol) || isDocumented(original),
          // Lazy: only some names need them, and some types take long.
          get members() {
            return (members ??= membersOf(original));
          },
        },
      ];
    }),
  );
}
