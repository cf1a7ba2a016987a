/** Each public name of the seed's pages has a counterpart in the package's public face, with a docblock. */
import { expect, test } from 'vitest';
import { PARAM_FACTS } from '../../src/operator/param-facts.ts';
import { exportedNames } from './exported.ts';
import { MISSING } from './missing.ts';
import { ourNames, type SeedSymbol, seedSymbols } from './symbols.ts';

const exported = exportedNames();

/** Why a symbol is not there, or `undefined`. */
function lack(symbol: SeedSymbol): string | undefined {
  const { owner, member } = ourNames(symbol);
  const found = exported.get(owner);
  if (found === undefined) return 'is not exported';
  if (member === undefined) return found.isDocumented ? undefined : 'has no docblock';
  // Parameters of the operator are fields of its schema; where they land is checked in parameters.test.ts.
  if (symbol.kind === 'parameter' && member in PARAM_FACTS) return undefined;
  if (!found.members.has(member)) return `${owner} has no ${member}`;
  return undefined;
}

test('every public name of the seed has its counterpart', () => {
  const lacking = seedSymbols().flatMap((symbol) => {
    const why = lack(symbol);
    return why === undefined ? [] : [{ ...symbol, why }];
  });
  const pages = Map.groupBy(seedSymbols(), ({ page }) => page);
  const lines = [...pages].map(([page, all]) => {
    const missing = lacking.filter((one) => one.page === page);
    return `page ${page}: ${String(all.length)} names, ${String(missing.length)} missing${missing.map(({ name, why }) => `\n    ${name}: ${why}`).join('')}`;
  });
  console.log(lines.join('\n'));
  // The list may only shrink: what it names and is there has to leave it.
  expect(lacking.map(({ page, name, kind }) => `${page} ${kind} ${name}`).toSorted()).toEqual(MISSING.toSorted());
});
