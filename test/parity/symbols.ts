/** The public names of the seed's pages and what each is called here. */
import { readFileSync } from 'node:fs';

/** One row of `symbols.tsv`. */
export interface SeedSymbol {
  readonly page: string;
  /** As the page spells it: `KubernetesPodOperator.env_vars`. */
  readonly name: string;
  readonly kind: string;
}

/** Every row. */
export function seedSymbols(): readonly SeedSymbol[] {
  return readFileSync(new URL('symbols.tsv', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [page = '', name = '', kind = ''] = line.split('\t');
      return { page, name, kind };
    });
}

/** A name in our spelling: classes and constants as they are, everything else in camelCase, a leading underscore gone. */
export function ourName(name: string): string {
  if (name === '__repr__') return 'toString';
  const bare = name.replace(/^_+/, '');
  if (/^[A-Z]/.test(bare)) return bare;
  return bare.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `Class.member` in our spelling, in its parts. */
export function ourNames({ name }: SeedSymbol): { readonly owner: string; readonly member: string | undefined } {
  const [owner = '', member] = name.split('.');
  return { owner: ourName(owner), member: member === undefined ? undefined : ourName(member) };
}
