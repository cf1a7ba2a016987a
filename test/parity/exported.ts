/** What `src/index.ts` exports, types included, as the compiler sees it: names, members, docblocks. */
import ts from 'typescript';

/** One exported name and what it has. */
export interface Exported {
  readonly isDocumented: boolean;
  /** Instance and static members, or the fields of an object or interface. */
  readonly members: ReadonlyMap<string, { readonly isDocumented: boolean }>;
}

/** Every export by its name. Takes a second or two. */
export function exportedNames(): ReadonlyMap<string, Exported> {
  const root = new URL('../../', import.meta.url).pathname;
  const read = (path: string) => ts.sys.readFile(path);
  const config: unknown = ts.readConfigFile(`${root}tsconfig.json`, read).config;
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root, { noEmit: true, skipLibCheck: true });
  const program = ts.createProgram([`${root}src/index.ts`], options);
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
      const original = (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
      return [
        symbol.name,
        { isDocumented: isDocumented(symbol) || isDocumented(original), members: membersOf(original) },
      ];
    }),
  );
}
