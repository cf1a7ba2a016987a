/**
 * Compares our answers with recordings of Airflow's, file by file. To add a file, write `<file>.test.ts`:
 *
 *     compareWithOracle('watcher', {
 *       answer: ({ input }) => ours(camelKeys(input)),          // throw = "refused"; may be async
 *       theirs: (output) => …, ours: (output) => …,             // optional: this file's own normalisation
 *       rules: [{ reason: '…', when: ({ input }) => …, instead: (theirs, theCase) => ({ output: … }) }],
 *     });
 *
 * A rule with `instead` changes what is expected, and ours is still compared; several may apply, in order. A rule without it
 * accepts any answer of ours: only for inputs on which Airflow has no usable answer. Rules apply to unequal cases only.
 * What all files share (names, pods, kinds of error) is normalised here and nowhere else.
 */
import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../../src/core/json.ts';

/** One side's answer to a case. */
export type Answer = { readonly output: unknown } | { readonly error: ErrorKind; readonly message?: string };

/**
 * The kinds of error that are compared. `refused`: the input is invalid (validation or configuration; ours is checked in one place). `crash`: an
 * unintended exception.
 */
export type ErrorKind = 'refused' | 'notFound' | 'ambiguous' | 'launch' | 'api' | 'crash';

/** One recorded case. */
export interface OracleCase {
  readonly id: string;
  readonly input: JsonRecord;
  readonly theirs: Answer;
}

/** A deliberate difference from the recordings. */
export interface OracleRule {
  readonly reason: string;
  readonly when: (theCase: OracleCase) => boolean;
  /** What we must answer; absent: anything but a crash. */
  readonly instead?: (theirs: Answer, theCase: OracleCase) => Answer;
}

/** How one recording is compared. */
export interface OracleComparison {
  /** Our answer to a case's input; an exception is its error. */
  readonly answer: (theCase: OracleCase) => unknown;
  /** Normalises the recorded output before comparing. */
  readonly theirs?: (output: unknown, theCase: OracleCase) => unknown;
  /** Normalises our output before comparing. */
  readonly ours?: (output: unknown, theCase: OracleCase) => unknown;
  readonly rules?: readonly OracleRule[];
  /** Selects the cases of a shared file; another test compares the rest. */
  readonly only?: (theCase: OracleCase) => boolean;
}

const FOLDER = process.env['REENTRY_ORACLE'] ?? import.meta.dirname;

/** The kinds of both sides' exception classes. Any other class is a crash. */
const KINDS: Readonly<Record<string, ErrorKind>> = {
  AirflowException: 'refused',
  AirflowConfigException: 'refused',
  ValueError: 'refused',
  JSONDecodeError: 'refused',
  ParserError: 'refused',
  TemplateSyntaxError: 'refused',
  UndefinedError: 'refused',
  PodReconciliationError: 'refused',
  FoundMoreThanOnePodFailure: 'ambiguous',
  PodNotFoundException: 'notFound',
  PodLaunchFailedException: 'launch',
  PodLaunchTimeoutException: 'launch',
  ApiException: 'api',
  KubernetesApiException: 'api',
  // ours
  KubernetesError: 'api',
  ReentryError: 'refused',
  ZodError: 'refused',
  RangeError: 'refused',
  SyntaxError: 'refused',
};

const recorded = z.object({
  id: z.string(),
  input: z.record(z.string(), z.unknown()),
  output: z.unknown().optional(),
  error: z.object({ type: z.string(), field: z.string().optional() }).optional(),
});

/** The cases of a recording; none when the folder has no such file. */
export function oracleCases(file: string): readonly OracleCase[] {
  const path = `${FOLDER}/${file}.jsonl`;
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const { id, input, output, error } = recorded.parse(JSON.parse(line));
      return { id, input, theirs: error === undefined ? { output } : { error: KINDS[error.type] ?? 'crash' } };
    });
}

/** `env_vars` → `envVars`; a leading underscore goes. */
export function camelCase(name: string): string {
  return name.replace(/^_+/, '').replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** An object with its own keys in our spelling; the values stay as they are, since Kubernetes objects are API JSON already. */
export function camelKeys(fields: JsonRecord): JsonRecord {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [camelCase(key), value]));
}

const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === '' ||
  (Array.isArray(value) && value.length === 0) ||
  (isRecord(value) && Object.keys(value).length === 0);

const withoutEmpties = (fields: JsonRecord): JsonRecord =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value)));

/** Labels with Airflow's release and credentials; our pods carry the installation instead. */
const PLATFORM_LABELS: ReadonlySet<string> = new Set(['airflow_version', 'airflow_kpo_in_cluster']);

/** A pod without fields that an API server treats as absent, and without both sides' own labels and annotations. Empty values further down are kept. */
export function normalisedPod(pod: unknown): JsonRecord {
  const metadata = recordIn(pod, 'metadata');
  const spec = recordIn(pod, 'spec');
  const own = (key: string): boolean => key.startsWith('reentry.dev/') || PLATFORM_LABELS.has(key);
  const foreign = (fields: JsonRecord): JsonRecord =>
    Object.fromEntries(Object.entries(fields).filter(([key]) => !own(key)));
  const containers = (list: string): readonly JsonRecord[] => recordsIn(spec, list).map(withoutEmpties);
  return withoutEmpties({
    ...(isRecord(pod) ? pod : {}),
    metadata: withoutEmpties({
      ...metadata,
      labels: foreign(recordIn(metadata, 'labels')),
      annotations: foreign(recordIn(metadata, 'annotations')),
    }),
    spec: withoutEmpties({
      ...spec,
      hostNetwork: spec['hostNetwork'] === false ? undefined : spec['hostNetwork'],
      containers: containers('containers'),
      initContainers: containers('initContainers'),
    }),
  });
}

/** The value as JSON: absent and undefined are the same. */
const plain = (value: unknown): unknown => (value === undefined ? null : JSON.parse(JSON.stringify(value)));

function kindOf(error: unknown): ErrorKind {
  if (!(error instanceof Error)) return 'crash';
  // We throw TypeErrors on purpose; those of the JavaScript engine are crashes.
  if (error instanceof TypeError)
    return /^Cannot |is not (a function|iterable)/.test(error.message) ? 'crash' : 'refused';
  return KINDS[error.name] ?? KINDS[error.constructor.name] ?? 'crash';
}

async function answered({ answer, ours }: OracleComparison, theCase: OracleCase): Promise<Answer> {
  try {
    const output: unknown = await answer(theCase);
    return { output: plain(ours === undefined ? output : ours(output, theCase)) };
  } catch (error) {
    const kind = kindOf(error);
    // A crash of ours is a defect: show its stack.
    if (kind === 'crash')
      return {
        output: `crashed: ${error instanceof Error ? (error.stack?.split('\n').slice(0, 2).join(' ') ?? error.message) : String(error)}`,
      };
    return { error: kind, message: error instanceof Error ? error.message : String(error) };
  }
}

const CRASHED = 'Airflow crashes on this input; a clean refusal or a sensible answer is better';

type Verdict =
  | { readonly kind: 'equal' }
  | { readonly kind: 'explained'; readonly reasons: readonly string[] }
  | { readonly kind: 'different'; readonly expected: Answer; readonly reasons: readonly string[] };

function judged(theCase: OracleCase, expected: Answer, got: Answer, rules: readonly OracleRule[]): Verdict {
  const same = (one: Answer): boolean =>
    'error' in one || 'error' in got
      ? 'error' in one && 'error' in got && one.error === got.error
      : isDeepStrictEqual(plain(one), plain(got));
  if (same(expected)) return { kind: 'equal' };
  const crashed = 'output' in got && typeof got.output === 'string' && got.output.startsWith('crashed: ');
  if (crashed) return { kind: 'different', expected, reasons: [] };
  if ('error' in expected && expected.error === 'crash') return { kind: 'explained', reasons: [CRASHED] };
  const reasons: string[] = [];
  let instead = expected;
  for (const rule of rules.filter(({ when }) => when(theCase))) {
    reasons.push(rule.reason);
    if (rule.instead === undefined) return { kind: 'explained', reasons };
    instead = rule.instead(instead, theCase);
    if (same(instead)) return { kind: 'explained', reasons };
  }
  return { kind: 'different', expected: instead, reasons };
}

/** How many different cases are printed; `ORACLE_SHOWN` overrides it. */
const SHOWN = Number(process.env['ORACLE_SHOWN'] ?? 10);

/** The differences of two JSON values, one line each: `path: expected → got`. */
function places(expected: unknown, got: unknown, path = '$'): readonly string[] {
  if (isDeepStrictEqual(expected, got)) return [];
  const bothLists = Array.isArray(expected) && Array.isArray(got) && expected.length === got.length;
  if (bothLists || (isRecord(expected) && isRecord(got))) {
    const [low, high] = [new Map(Object.entries(expected)), new Map(Object.entries(got))];
    return [...new Set([...low.keys(), ...high.keys()])].flatMap((key) =>
      places(low.get(key), high.get(key), `${path}.${key}`),
    );
  }
  const text = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value).slice(0, 2000));
  return [`${path}: ${text(expected)} → ${text(got)}`];
}

/** Registers the test that compares recording `file` with our answers and prints the counts. */
export function compareWithOracle(file: string, comparison: OracleComparison, part = ''): void {
  test(`${file}${part === '' ? '' : ` (${part})`}: every case is equal or explained`, async () => {
    const cases = oracleCases(file).filter((one) => comparison.only?.(one) ?? true);
    const byReason = new Map<string, number>();
    const different: string[] = [];
    let equal = 0;
    let explained = 0;
    for (const theCase of cases) {
      const { theirs } = theCase;
      const expected: Answer =
        'output' in theirs
          ? {
              output: plain(
                comparison.theirs === undefined ? theirs.output : comparison.theirs(theirs.output, theCase),
              ),
            }
          : theirs;
      const got = await answered(comparison, theCase);
      const verdict = judged(theCase, expected, got, comparison.rules ?? []);
      switch (verdict.kind) {
        case 'equal':
          equal += 1;
          break;
        case 'explained':
          explained += 1;
          for (const reason of verdict.reasons) byReason.set(reason, (byReason.get(reason) ?? 0) + 1);
          break;
        case 'different':
          different.push(
            [
              theCase.id,
              ...verdict.reasons.map((reason) => `rule: ${reason}`),
              ...places(plain(verdict.expected), plain(got)),
            ].join('\n    '),
          );
      }
    }
    const name = part === '' ? file : `${file} ${part}`;
    const lines = [...byReason].map(([reason, count]) => `\n  ${String(count).padStart(4)} × ${reason}`);
    console.log(
      `oracle ${name}: ${String(cases.length)} cases, ${String(equal)} equal, ${String(explained)} explained, ${String(different.length)} different${lines.join('')}`,
    );
    if (different.length > 0)
      expect.fail(
        `${String(different.length)} different (expected → got):\n  ${different.slice(0, SHOWN).join('\n  ')}`,
      );
  });
}
