import { isRecord, type JsonRecord, recordIn } from '../../src/core/json.ts';
import { ReentryError } from '../../src/errors.ts';
import { renderTemplates, TEMPLATE_FIELDS } from '../../src/operator/templates.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { type Answer, camelCase, camelKeys, compareWithOracle, type OracleCase } from './harness.ts';

function rendered({ input }: OracleCase): JsonRecord {
  const { rendered: fields, problems } = renderTemplates(
    camelKeys(recordIn(input, 'params')),
    recordIn(input, 'variables'),
    {
      native: input['native'] === true,
    },
  );
  if (problems.length > 0) throw new ReentryError('INVALID_REQUEST', JSON.stringify(problems), { transient: false });
  return fields;
}

/** All strings of a case, at any depth. */
const textsIn = ({ input }: OracleCase): string => JSON.stringify(input['params']);

/** Values inside strings as JSON; Python spells them with other quotes and names. */
function jsonSpelling(value: unknown): unknown {
  if (typeof value === 'string')
    return value
      .replace(/\bTrue\b/g, 'true')
      .replace(/\bFalse\b/g, 'false')
      .replace(/[[{][^[\]{}]*'[^[\]{}]*[\]}]/g, (part) => part.replaceAll("'", '"').replace(/([,:]) /g, '$1'));
  if (Array.isArray(value)) return value.map(jsonSpelling);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonSpelling(item)]));
}

/** Filters without arguments that both languages have. */
const COMMON = [
  'upper',
  'lower',
  'trim',
  'string',
  'length',
  'count',
  'tojson',
  'title',
  'int',
  'float',
  'safe',
  'first',
  'last',
];
const OUTPUT = new RegExp(
  String.raw`^-?\s*('[^']*'|"[^"]*"|[\w.]+(\[(\d+|'[^']*')\])*(\.\w+)*)(\s*\|\s*(${COMMON.join('|')}))*\s*-?$`,
);
const TAG =
  /^-?\s*(if\s+(not\s+)?[\w.]+|if\s+[\w.]+\s*(==|!=|<|>|<=|>=)\s*[\w.'"]+|else|endif|for\s+\w+\s+in\s+[\w.]+|endfor|raw|endraw)\s*-?$/;

/** Whether a template uses only what both languages have: paths, literals, common filters, plain conditions and loops. */
const isCommon = (text: string): boolean =>
  [...text.matchAll(/\{\{(.*?)\}\}/gs)].every(([, inner = '']) => OUTPUT.test(inner)) &&
  [...text.matchAll(/\{%(.*?)%\}/gs)].every(([, inner = '']) => TAG.test(inner)) &&
  !text.includes('{#');

/** Whether a template uses a name that its case does not define. */
function isUnknown(text: string, variables: JsonRecord): boolean {
  return [...text.matchAll(/\{\{-?\s*([a-zA-Z_][\w.]*)/g)].some(([, path = '']) => {
    let at: unknown = variables;
    for (const key of path.split('.')) at = isRecord(at) ? at[key] : undefined;
    return at === undefined;
  });
}

const someText = ({ input }: OracleCase, is: (text: string) => boolean): boolean => {
  const deep = (value: unknown): boolean => {
    if (typeof value === 'string') return is(value);
    if (Array.isArray(value)) return value.some(deep);
    return isRecord(value) && Object.entries(value).some(([key, item]) => is(key) || deep(item));
  };
  return deep(input['params']);
};

const textual = (by: (text: string) => string, nothing: unknown = null) => {
  const deep = (value: unknown): unknown => {
    if (value === null) return nothing;
    if (typeof value === 'string') return by(value);
    if (Array.isArray(value)) return value.map(deep);
    if (!isRecord(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, deep(item)]));
  };
  return (theirs: Answer): Answer => ('output' in theirs ? { output: deep(theirs.output) } : theirs);
};

compareWithOracle('templates', {
  answer: (theCase) => (theCase.id.startsWith('template-fields/') ? TEMPLATE_FIELDS.toSorted() : rendered(theCase)),
  theirs: (output, { id }) => {
    if (id.startsWith('template-fields/')) {
      const names: unknown = Array.isArray(output)
        ? output
        : Object.values(isRecord(output) ? output : {}).find(Array.isArray);
      return Array.isArray(names) ? names.map((name) => camelCase(String(name))).toSorted() : output;
    }
    const fields = recordIn(output, 'rendered');
    // The default of containerLogs is applied when logs are read, and quantities are parsed to strings.
    return jsonSpelling(
      Object.fromEntries(Object.entries(camelKeys(fields)).filter(([field]) => field !== 'containerLogs')),
    );
  },
  ours: (output, { theirs }) => {
    if (!isRecord(output) || !('output' in theirs)) return output;
    // Only the fields in the recording.
    const shown = Object.keys(recordIn(theirs.output, 'rendered')).map(camelCase);
    const fields = Object.fromEntries(Object.entries(output).filter(([field]) => shown.includes(field)));
    const parsed = podParamsSchema.safeParse(fields);
    const resources = parsed.success ? parsed.data.containerResources : undefined;
    return jsonSpelling({ ...fields, ...(resources == null ? {} : { containerResources: resources }) });
  },
  rules: [
    {
      reason:
        'Liquid has filters where Jinja has methods, operators and parentheses: no template runs code. Refused with a hint how to write it',
      when: (theCase) => someText(theCase, (text) => !isCommon(text) && !text.includes('{#')),
      instead: () => ({ error: 'refused' }),
    },
    {
      reason: 'unknown names are refused: the recordings render them as nothing',
      when: (theCase) => someText(theCase, (text) => isUnknown(text, recordIn(theCase.input, 'variables'))),
      instead: () => ({ error: 'refused' }),
    },
    {
      reason: 'Jinja’s comments are kept: in a shell `${#x}` is not a comment',
      when: (theCase) => someText(theCase, (text) => text.includes('{#')),
    },
    {
      reason: 'a loop over a map yields pairs in Liquid, keys in Jinja',
      when: (theCase) => someText(theCase, (text) => /\{%-?\s*for\s+\w+\s+in\s+params\.map\b/.test(text)),
    },
    {
      reason:
        'only a template of a single expression keeps its type; Jinja evaluates the combination of several as Python',
      when: (theCase) =>
        theCase.input['native'] === true &&
        someText(theCase, (text) => text.includes('{') && !/^\s*\{\{[^{}]*\}\}\s*$/.test(text)),
    },
    {
      reason: 'null renders as nothing, not as "None"',
      when: (theCase) => /\{\{[^}]*none/i.test(textsIn(theCase)),
      instead: textual((text) => text.replace(/\bNone\b/g, ''), ''),
    },
    {
      reason: 'a final newline is kept: Jinja drops one',
      when: (theCase) => /\\n"/.test(textsIn(theCase)),
      instead: textual((text) => `${text}\n`),
    },
    {
      reason:
        'a template for the variables always gives a map or list: Airflow refuses it later, unless the whole task renders natively',
      when: ({ input }) => typeof recordIn(input, 'params')['env_vars'] === 'string' && input['native'] !== true,
    },
  ],
});
