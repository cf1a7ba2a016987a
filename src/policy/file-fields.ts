/** Field paths of policies that could never mean anything: found when the file is loaded, because a rule that refuses nothing looks like safety. */
import { nearest } from '../core/nearest.ts';
import { type FieldPart, fieldParts } from './patterns.ts';
import { namesOwnField } from './field-rules.ts';
import { fits } from './glob.ts';
import { labelKeyProblem } from '../core/pod/labels.ts';
import { type Fields, LIST_FIELDS, MAP_FIELDS, POD_FIELDS, SCALAR_FIELDS } from '../core/pod/pod-fields.ts';

/** Why a path makes no sense as a rule; `undefined` when it does. */
export function fieldProblem(text: string, rule: 'only' | 'never'): string | undefined {
  const parts = fieldParts(text);
  const [root, ...rest] = parts ?? [];
  if (root === undefined || (root.text !== 'spec' && root.text !== 'metadata')) {
    const hint = root?.text === 'pod' ? ', without pod in front' : '';
    return `must be a manifest path such as spec.containers.*.env or metadata.annotations['example.com/role']${hint}`;
  }
  const problem = below(root.text, fieldsAt(POD_FIELDS, root.text), rest);
  if (problem !== undefined || rule === 'only' || parts === undefined || !namesOwnField(parts)) return problem;
  const hint = text === 'metadata.namespace' ? '; see namespaces' : '';
  return `reentry sets it itself or every pod has it: forbidding it would refuse nothing${hint}`;
}

const fieldsAt = (fields: Fields, name: string): Fields | undefined =>
  fields !== true && Object.hasOwn(fields, name) ? fields[name] : undefined;

/** What is wrong with the parts below `place`, a field whose fields are `fields`. */
function below(place: string, fields: Fields | undefined, parts: readonly FieldPart[]): string | undefined {
  const [part, ...rest] = parts;
  if (part === undefined || fields === undefined || fields === true) return undefined;
  const known = Object.keys(fields);
  if (part.text.includes('*'))
    return part.text === '*' || known.some((name) => fits(part.text, name))
      ? undefined
      : `no field of ${place} fits ${part.text}`;
  const inner = fieldsAt(fields, part.text);
  if (inner === undefined) {
    const near = nearest(part.text, known);
    // Kubernetes gets new fields in the spec; what is nearly one that there is was meant to be that.
    if (near === undefined && place !== 'metadata') return undefined;
    return `${place} has no field ${part.text}${near === undefined ? '' : `; did you mean ${near}?`}`;
  }
  const name = `${place}.${part.text}`;
  if (MAP_FIELDS.has(part.text)) return keyProblem(name, rest);
  if (SCALAR_FIELDS.has(part.text) && rest.length > 0) return `nothing is below ${name}`;
  if (!LIST_FIELDS.has(part.text)) return below(name, inner, rest);
  const [index, ...further] = rest;
  if (index !== undefined && index.text !== '*' && !/^\d+$/.test(index.text))
    return `${name} is a list: write ${name}.*.${index.text} for all of them`;
  return below(`${name}.*`, inner, further);
}

/** A map's keys have nothing below them: all that is left is one key. */
function keyProblem(map: string, parts: readonly FieldPart[]): string | undefined {
  if (parts.length === 0) return undefined;
  if (parts.length > 1 && parts.some(({ isWhole }) => isWhole)) return `nothing is below a key of ${map}`;
  const key = parts.map(({ text }) => text).join('.');
  const problem = key.includes('*') ? undefined : labelKeyProblem(key);
  return problem === undefined ? undefined : `${map} cannot have the key ${key}: it ${problem}`;
}
