/** The public names of Airflow's modules, from `symbols.tsv`, and their names here. */
import { readFileSync } from 'node:fs';

/** One row of `symbols.tsv`. */
export interface AirflowSymbol {
  /** Airflow's module. */
  readonly module: string;
  /** In Airflow's spelling: `KubernetesPodOperator.env_vars`. */
  readonly name: string;
  readonly kind: string;
}

/** Every row. */
export function airflowSymbols(): readonly AirflowSymbol[] {
  return readFileSync(new URL('symbols.tsv', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [module = '', name = '', kind = ''] = line.split('\t');
      return { module, name, kind };
    });
}

/** The name here: classes and constants unchanged, all others in camelCase without a leading underscore. */
export function ourName(name: string): string {
  if (name === '__repr__') return 'toString';
  const bare = name.replace(/^_+/, '');
  if (/^[A-Z]/.test(bare)) return bare;
  return bare.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `Class.member` as named here, split. */
export function ourNames({ name }: AirflowSymbol): { readonly owner: string; readonly member: string | undefined } {
  const [owner = '', member] = name.split('.');
  return { owner: ourName(owner), member: member === undefined ? undefined : ourName(member) };
}
