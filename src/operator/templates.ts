/** Templates in parameters. They are Liquid, not Jinja, so that no template of a request runs code. */
import { Liquid } from 'liquidjs';
import { isRecord, type JsonRecord } from '../core/json.ts';
import type { Problem } from '../errors.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { PodParams } from './pod-params.ts';

/**
 * What is rendered of a field. `texts`: every text at any depth, but no keys. `entries`: only these paths of each object in a list. `variables`: names
 * and values of environment variables, or a text that renders to a map or list of them.
 */
type Rendering =
  | { readonly kind: 'texts' }
  | { readonly kind: 'entries'; readonly paths: readonly (readonly string[])[] }
  | { readonly kind: 'variables' };

const TEXTS: Rendering = { kind: 'texts' };
const entries = (...paths: readonly string[]): Rendering => ({
  kind: 'entries',
  paths: paths.map((path) => path.split('.')),
});

const RENDERINGS = {
  image: TEXTS,
  name: TEXTS,
  hostname: TEXTS,
  cmds: TEXTS,
  annotations: TEXTS,
  arguments: TEXTS,
  envVars: { kind: 'variables' },
  labels: TEXTS,
  configFile: TEXTS,
  podTemplateFile: TEXTS,
  podTemplateDict: TEXTS,
  namespace: TEXTS,
  containerResources: TEXTS,
  volumes: entries('name', 'persistentVolumeClaim.claimName', 'configMap.name'),
  volumeMounts: entries('name', 'subPath'),
  clusterContext: TEXTS,
  envFrom: entries('configMapRef.name'),
  configmaps: TEXTS,
  nodeSelector: TEXTS,
  kubernetesConnId: TEXTS,
  baseContainerName: TEXTS,
  triggerKwargs: TEXTS,
} as const satisfies Partial<Record<keyof PodParams, Rendering>>;

/** The parameters that are rendered, as in `template_fields` of Airflow's KubernetesPodOperator. */
export const TEMPLATE_FIELDS: readonly string[] = Object.keys(RENDERINGS);

/** Render time of all templates of a request together, in milliseconds. A limit per template would let thousands of them block a worker. */
const RENDER_BUDGET_MS = 500;

/** A value inside a text: maps and lists as JSON, null as the empty text. */
function spelled(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const liquid = new Liquid({
  strictVariables: true,
  strictFilters: true,
  lenientIf: true,
  // Empty texts and 0 are false, as in Jinja.
  jsTruthy: true,
  globals: { none: null, None: null, True: true, False: false },
  ownPropertyOnly: true,
  outputEscape: spelled,
  templates: {},
  // In characters and allocations: a template of a request must not block a worker. No files.
  parseLimit: 1_000_000,
  memoryLimit: 10_000_000,
});

const length = (value: unknown): number =>
  Array.isArray(value) ? value.length : isRecord(value) ? Object.keys(value).length : spelled(value).length;
/** Filters that Jinja has and Liquid lacks, under Jinja's names. */
const JINJA_FILTERS: Readonly<Record<string, (value: unknown) => unknown>> = {
  upper: (value) => spelled(value).toUpperCase(),
  lower: (value) => spelled(value).toLowerCase(),
  trim: (value) => spelled(value).trim(),
  string: spelled,
  title: (value) =>
    spelled(value).replace(/\p{L}+/gu, (word) => `${word.charAt(0).toUpperCase()}${word.slice(1).toLowerCase()}`),
  int: (value) => Math.trunc(Number(value)) || 0,
  float: (value) => Number(value) || 0,
  safe: (value) => value,
  length,
  count: length,
  tojson: (value) => JSON.stringify(value),
};
for (const [name, filter] of Object.entries(JINJA_FILTERS)) liquid.registerFilter(name, filter);

/** `2024-01-02T03:04:05Z` as `20240102T030405`; Airflow's `ts_nodash`. */
const withoutSeparators = (time: string): string => time.slice(0, 19).replace(/[-:]/g, '');

/** The variables of templates, by Airflow's names and by ours. */
export function templateVariables(run: RunKey, request: RunRequest, attempt: number): JsonRecord {
  const { dagId = '', taskId = '', runId = run.runId, mapIndex = -1, logicalDate = '', params = {} } = request.context;
  const day = logicalDate.slice(0, 10);
  const task = { dag_id: dagId, task_id: taskId, run_id: runId, map_index: mapIndex, try_number: attempt };
  return {
    params,
    dagId,
    taskId,
    runId,
    mapIndex,
    logicalDate,
    tryNumber: attempt,
    tenant: run.tenant,
    ...task,
    logical_date: logicalDate,
    ts: logicalDate,
    ts_nodash: withoutSeparators(logicalDate),
    ds: day,
    ds_nodash: day.replaceAll('-', ''),
    ti: task,
    task_instance: task,
    task: { task_id: taskId },
    dag: { dag_id: dagId },
    dag_run: { run_id: runId, logical_date: logicalDate, conf: params },
  };
}

/**
 * Finds Jinja syntax that Liquid lacks. Liquid would silently read operators and `in` as something else. Tags are examined one by one: a regular
 * expression over the whole text takes minutes for a few kilobytes of hostile input.
 */
const hasOperator = (text: string): boolean =>
  insides(text.replace(/'[^']*'|"[^"]*"/g, '_')).some((inside) => /[\w\])][+*/~][\w([]/.test(inside));

function hasMembership(text: string): boolean {
  const [before = '', ...pieces] = text.split('%');
  let opens = before.endsWith('{');
  return pieces.some((piece) => {
    const [condition] = (opens ? /^-?\s*(?:if|elsif|unless)\b/.exec(piece) : undefined) ?? [];
    opens = piece.endsWith('{');
    return condition !== undefined && /\s(?:not\s+)?in\s/.test(piece.slice(condition.length));
  });
}

function isJinja(text: string): boolean {
  if (/\{%-?\s*(?:set|elif|macro)\b/.test(text)) return true;
  return insides(text).some((inside) => {
    if (/\.\w+\(|\|\s*\w+\s*\(|\bmacros\.|\s~\s/.test(inside)) return true;
    const from = /\sif\s/.exec(inside)?.index;
    return from !== undefined && /\selse\s/.test(inside.slice(from + 4));
  });
}

/** The contents of tags: from where one opens to the next closing brace. */
function insides(text: string): readonly string[] {
  return text.split('}').flatMap((part) => {
    const from = /\{[{%]/.exec(part)?.index;
    return from === undefined ? [] : [part.slice(from + 2)];
  });
}
const LIQUID =
  'templates are Liquid: filters take their arguments after a colon, there are no methods, and elif is elsif';

/** Whether a text, or the JSON of a value, has a template in it. */
export const isTemplate = (text: string): boolean => text.includes('{{') || text.includes('{%');

/** Renders values. Problems are collected with their paths; the text of a template that fails stays as it was. */
class Renderer {
  readonly problems: Problem[] = [];
  #leftMs = RENDER_BUDGET_MS;
  readonly #variables: JsonRecord;
  readonly #native: boolean;

  constructor(variables: JsonRecord, native: boolean) {
    this.#variables = variables;
    this.#native = native;
  }

  /** A rendered text, or in native mode the value of its only expression. */
  text(text: string, path: string): unknown {
    if (!isTemplate(text)) return text;
    return this.#native ? this.value(text, path) : this.#attempt(text, path, () => this.#rendered(text));
  }

  /** The value of a text's only expression, else its rendered text. */
  value(text: string, path: string): unknown {
    return this.#attempt(text, path, () => {
      const expression = /^\s*\{\{-?((?:(?!\}\}|\{\{|\{%)[^])*?)-?\}\}\s*$/.exec(text)?.[1];
      const value: unknown =
        expression === undefined ? this.#rendered(text) : liquid.evalValueSync(expression, this.#variables);
      return value ?? '';
    });
  }

  /** A JSON value with every text rendered; keys stay as they are. */
  texts(value: unknown, path: string): unknown {
    if (typeof value === 'string') return this.text(value, path);
    if (Array.isArray(value)) return value.map((item: unknown, index) => this.texts(item, `${path}[${String(index)}]`));
    if (!isRecord(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.texts(item, `${path}.${key}`)]));
  }

  /** An object with the value at `keys` rendered; everything else stays as it is. */
  at(value: unknown, [key, ...deeper]: readonly string[], path: string): unknown {
    if (key === undefined) return this.texts(value, path);
    if (!isRecord(value) || !Object.hasOwn(value, key)) return value;
    return { ...value, [key]: this.at(value[key], deeper, `${path}.${key}`) };
  }

  entries(value: unknown, paths: readonly (readonly string[])[], path: string): unknown {
    if (!Array.isArray(value)) return value;
    return value.map((item: unknown, index) =>
      paths.reduce((entry, keys) => this.at(entry, keys, `${path}[${String(index)}]`), item),
    );
  }

  variables(value: unknown, path: string): unknown {
    if (typeof value === 'string') {
      const given = this.value(value, path);
      return typeof given === 'string' ? parsedJson(given) : given;
    }
    if (Array.isArray(value)) return this.entries(value, [['name'], ['value']], path);
    if (!isRecord(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        spelled(this.text(name, path)),
        this.texts(item, `${path}.${name}`),
      ]),
    );
  }

  #rendered(text: string): string {
    const begunAt = performance.now();
    try {
      if (this.#leftMs <= 0) throw new RangeError('render limit exceeded by the templates before this one');
      const rendered: unknown = liquid.parseAndRenderSync(text, this.#variables, { renderLimit: this.#leftMs });
      return String(rendered);
    } finally {
      this.#leftMs -= performance.now() - begunAt;
    }
  }

  #attempt(text: string, path: string, render: () => unknown): unknown {
    try {
      if (hasOperator(text)) throw new SyntaxError('there are no operators; filters calculate, as in `n | plus: 1`');
      if (hasMembership(text)) throw new SyntaxError('`a in list` is `list contains a` here');
      return render();
    } catch (error) {
      const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      this.problems.push({ path, message: `template: ${why}${isJinja(text) ? `; ${LIQUID}` : ''}` });
      return text;
    }
  }
}

function parsedJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    return text;
  }
}

/**
 * `params` with their template fields rendered, and the problems found. The result must be parsed again: it may not fit the schema any more.
 * `native`: a text that is a single expression becomes its value and keeps the type.
 */
export function renderTemplates(
  params: JsonRecord,
  variables: JsonRecord,
  { native = false }: { readonly native?: boolean } = {},
): { readonly rendered: JsonRecord; readonly problems: readonly Problem[] } {
  const renderer = new Renderer(variables, native);
  const rendered: Record<string, unknown> = { ...params };
  for (const [field, rendering] of Object.entries(RENDERINGS)) {
    if (!(field in params)) continue;
    const path = `params.${field}`;
    const value = params[field];
    switch (rendering.kind) {
      case 'texts':
        rendered[field] = renderer.texts(value, path);
        break;
      case 'entries':
        rendered[field] = renderer.entries(value, rendering.paths, path);
        break;
      case 'variables':
        rendered[field] = renderer.variables(value, path);
    }
  }
  return { rendered, problems: renderer.problems };
}
