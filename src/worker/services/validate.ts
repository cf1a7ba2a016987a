import { createHash } from 'node:crypto';
import { z } from 'zod';
import { isRecord, recordIn, recordsIn, textIn } from '../../core/json.ts';
import { didYouMean } from '../../core/nearest.ts';
import { shortProblem } from '../../core/short-text.ts';
import { type Problem, ReentryError } from '../../errors.ts';
import { MAX_REQUEST_BYTES, runRequestSchema } from '../../wire/run-request.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from '../protocol/engine.ts';

/** A valid request with its parsed parameters, or all its problems. */
export type CheckedRequest =
  | { readonly kind: 'valid'; readonly request: RunRequest; readonly params: unknown }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] };

/** Deepest nesting of a request: far beyond any manifest, far below any stack. */
const MAX_DEPTH = 64;
const MAX_PROBLEMS = 20;
/** Field names that would reach prototypes when objects are copied. */
const RESERVED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const refused = (...problems: readonly Problem[]): CheckedRequest => ({
  kind: 'refused',
  problems: problems.slice(0, MAX_PROBLEMS).map(shortProblem),
});

const NONE: Engine['foreign'] = new Map();

/** Parses and checks the bytes of a run request. Never throws: hostile input is refused like any other. */
export function readRequest({ operators }: Pick<Engine, 'operators'>, data: Uint8Array, run?: RunKey): CheckedRequest {
  return readAnyRequest({ operators, foreign: NONE }, data, run);
}

/** `readRequest` for a service, which meets requests for every queue: as `checkRequest`. */
export function readAnyRequest(
  { operators, foreign }: Pick<Engine, 'operators' | 'foreign'>,
  data: Uint8Array,
  run?: RunKey,
): CheckedRequest {
  if (data.byteLength > MAX_REQUEST_BYTES)
    return refused({ path: '$', message: `is ${data.byteLength} bytes; at most ${MAX_REQUEST_BYTES} are allowed` });
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
  } catch (error) {
    return refused({ path: '$', message: `is not JSON: ${error instanceof Error ? error.message.slice(0, 200) : ''}` });
  }
  return checkRequest({ operators, foreign }, json, run);
}

/** Fields that depend on the configuration of processes of the other kind, which this one may lack. */
const CONFIGURED_ELSEWHERE: ReadonlySet<string> = new Set([
  'params.podTemplateFile',
  'params.callbacks',
  'params.logFormatter',
]);

/** Whether a problem found here holds there too. A missing image may come from a template, and of operators other than `pod` from their configuration. */
function holdsElsewhere({ path }: Problem, operator: string, params: unknown): boolean {
  if (path === 'params.image') return operator === 'pod' && textIn(params, 'podTemplateFile') === undefined;
  return !CONFIGURED_ELSEWHERE.has(path);
}

/**
 * Checks a request: envelope, operator, its parameters by schema and by the operator's own rules. A service takes requests for every queue: of an
 * operator of the other kind (`foreign`) it checks everything except what depends on the configuration of its processes (templates, images,
 * callbacks). Never throws.
 */
export function checkRequest(
  { operators, foreign }: Pick<Engine, 'operators' | 'foreign'>,
  json: unknown,
  run: RunKey | undefined,
): CheckedRequest {
  if (!isRecord(json)) return refused({ path: '$', message: 'is not an object' });
  const shape = structureProblem(json, RESERVED);
  if (shape !== undefined) return refused(shape);
  try {
    const size = Buffer.byteLength(JSON.stringify(json));
    if (size > MAX_REQUEST_BYTES)
      return refused({ path: '$', message: `is ${size} bytes; at most ${MAX_REQUEST_BYTES} are allowed` });
    const envelope = runRequestSchema.safeParse(json);
    const name = envelope.success ? envelope.data.operator : nameIn(json);
    const own = operators.get(name);
    const operator = own ?? foreign.get(name);
    const problems = envelope.success ? [] : problemsOf(envelope.error, runRequestSchema, []);
    if (operator === undefined)
      return refused(...problems, {
        path: 'operator',
        message: unknownOperator([...operators.keys(), ...foreign.keys()], name),
      });
    const given: unknown = envelope.success ? envelope.data.params : recordIn(json, 'params');
    const params = operator.paramsSchema.safeParse(given);
    if (!params.success) problems.push(...problemsOf(params.error, operator.paramsSchema, ['params']));
    if (!envelope.success || !params.success) return refused(...problems);
    const objections = operator.check(envelope.data, params.data, run);
    const found = own === undefined ? objections.filter((one) => holdsElsewhere(one, name, params.data)) : objections;
    if (found.length > 0) return refused(...found);
    return { kind: 'valid', request: envelope.data, params: params.data };
  } catch (error) {
    return refused({ path: '$', message: `cannot be checked: ${String(error).slice(0, 200)}` });
  }
}

/** SHA-256 of the stored request, whatever the order of its keys. */
export function hashOf(request: RunRequest): string {
  return createHash('sha256').update(canonical(request)).digest('hex');
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (!isRecord(value)) return JSON.stringify(value);
  const fields: string[] = [];
  for (const key of Object.keys(value).sort())
    if (value[key] !== undefined) fields.push(`${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${fields.join(',')}}`;
}

/** A problem to be found before any schema, since schemas recurse: nesting deeper than `MAX_DEPTH`, and `reserved` names. */
export function structureProblem(json: unknown, reserved: ReadonlySet<string> = new Set()): Problem | undefined {
  let level: readonly { readonly path: string; readonly value: unknown }[] = [{ path: '', value: json }];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH)
      return { path: level[0]?.path.slice(0, 200) ?? '$', message: `is nested deeper than ${MAX_DEPTH} levels` };
    const next: { path: string; value: unknown }[] = [];
    for (const { path, value } of level) {
      if (typeof value !== 'object' || value === null) continue;
      for (const [key, inner] of Object.entries(value)) {
        const at = path === '' ? key : `${path}.${key}`;
        if (reserved.has(key)) return { path: at, message: 'is a reserved name' };
        if (typeof inner === 'object') next.push({ path: at, value: inner });
      }
    }
    level = next;
  }
  return undefined;
}

function nameIn(json: unknown): string {
  const name = isRecord(json) ? json['operator'] : undefined;
  return typeof name === 'string' ? name : 'pod';
}

function unknownOperator(known: readonly string[], name: string): string {
  if (name === 'command') return 'command belongs to a queue that executors serve (default queue: executor)';
  if (name === 'pod')
    return `pod belongs to a queue that workers serve (default queue: default); here: ${known.join(', ')}`;
  return `is not known here; known: ${known.join(', ')}${didYouMean(name, known)}`;
}

function problemsOf(error: z.ZodError, schema: z.ZodType, base: readonly string[]): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    const path = [...base, ...issue.path.map(String)];
    if (issue.code !== 'unrecognized_keys') return [{ path: path.join('.') || '$', message: issue.message }];
    const known = fieldsAt(schema, issue.path.map(String));
    return issue.keys.map((key) => ({
      path: [...path, key].join('.'),
      message: `unknown field${didYouMean(key, known)}`,
    }));
  });
}

/** The problems of a service request, from its schema's error. */
export function problemsIn(error: z.ZodError): readonly Problem[] {
  return error.issues.flatMap(({ path, message, ...issue }): Problem[] =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...path, key].map(String).join('.'), message: 'unknown field' }))
      : [{ path: path.map(String).join('.') || '$', message }],
  );
}

const FIELDS = new WeakMap<z.ZodType, unknown>();

/** Field names of the schema at `path`. */
function fieldsAt(schema: z.ZodType, path: readonly string[]): readonly string[] {
  let described = FIELDS.get(schema);
  if (described === undefined) {
    described = z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' });
    FIELDS.set(schema, described);
  }
  let at: readonly unknown[] = [described];
  for (const part of path)
    at = at.flatMap((node) => alternatives(described, node)).flatMap((node) => child(node, part));
  return at
    .flatMap((node) => alternatives(described, node))
    .flatMap((node) => Object.keys(recordIn(node, 'properties')));
}

function alternatives(root: unknown, node: unknown): readonly unknown[] {
  const reference = isRecord(node) ? node['$ref'] : undefined;
  if (typeof reference === 'string') {
    const target = reference
      .slice(2)
      .split('/')
      .reduce<unknown>((at, part) => recordIn(at, part), root);
    return [target];
  }
  return [node, ...['anyOf', 'oneOf', 'allOf'].flatMap((key) => recordsIn(node, key))];
}

function child(node: unknown, part: string): readonly unknown[] {
  const properties = recordIn(node, 'properties');
  if (part in properties) return [properties[part]];
  const rest = isRecord(node) ? (/^\d+$/.test(part) ? node['items'] : node['additionalProperties']) : undefined;
  return isRecord(rest) ? [rest] : [];
}

/** An INVALID_REQUEST error whose message is the first problem, with all of them as `problems`. */
export function invalidRequestError(problems: readonly Problem[]): ReentryError {
  const short = problems.map(shortProblem);
  const first = short[0];
  const message = first === undefined ? 'the request cannot run' : `${first.path} ${first.message}`;
  return new ReentryError('INVALID_REQUEST', message, { transient: false, problems: short });
}
