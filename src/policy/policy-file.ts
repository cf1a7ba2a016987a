/** Schema and parser of the policy file (`REENTRY_POLICY`). What the rules mean is described in `policy.ts`. */
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { didYouMean } from '../core/nearest.ts';
import type { Policy, TenantPolicy } from './policy.ts';
import { quantityOf } from '../core/quantity.ts';
import { ReentryError } from '../errors.ts';
import { labelKeyProblem } from '../core/pod/labels.ts';
import { type Fields, LIST_FIELDS, MAP_FIELDS, POD_FIELDS, SCALAR_FIELDS } from '../core/pod/pod-fields.ts';
import { namesOwnField } from './field-rules.ts';
import { type FieldPart, fieldParts, matches } from './patterns.ts';

const patterns = z.array(z.string().min(1).max(500)).optional();
const quantity = z
  .union([z.string(), z.number()])
  .refine((value) => (quantityOf(value) ?? -1) >= 0, 'must be a quantity such as 2, 500m or 4Gi');
const ceilings = z.record(z.string().min(1), quantity).optional();
const fieldPaths = (rule: 'only' | 'never') =>
  z
    .array(
      z
        .string()
        .max(1_000)
        .superRefine((path, context) => {
          const message = fieldProblem(path, rule);
          if (message !== undefined) context.addIssue({ code: 'custom', message: `${path}: ${message}` });
        }),
    )
    .optional();

const tenantSchema: z.ZodType<TenantPolicy> = z.strictObject({
  connections: patterns,
  namespaces: patterns,
  serviceAccounts: patterns,
  images: patterns,
  secrets: patterns,
  configMaps: patterns,
  priorityClasses: patterns,
  resources: z.strictObject({ perContainer: ceilings, perPod: ceilings }).optional(),
  fields: z.strictObject({ only: fieldPaths('only'), never: fieldPaths('never') }).optional(),
  host: z
    .strictObject({
      network: z.boolean().optional(),
      pid: z.boolean().optional(),
      ipc: z.boolean().optional(),
      privileged: z.boolean().optional(),
      paths: z.array(z.string().regex(/^\/[^*]*$/, 'must be an absolute directory')).optional(),
      ports: z.array(z.int().min(1).max(65_535)).optional(),
      capabilities: z.array(z.string().regex(/^[A-Z_]+$/, 'must be a capability such as NET_ADMIN')).optional(),
      sysctls: z.array(z.string().min(1)).optional(),
    })
    .optional(),
});

/** Schema of the policy file. */
export const policySchema: z.ZodType<Policy> = z.strictObject({
  tenants: z.record(z.string().min(1), tenantSchema).default({}),
  default: tenantSchema.optional(),
});

const KNOWN = [
  ...['tenants', 'default', 'connections', 'namespaces', 'serviceAccounts', 'images', 'secrets', 'configMaps'],
  ...['priorityClasses', 'resources', 'perContainer', 'perPod', 'fields', 'only', 'never', 'host', 'network', 'pid'],
  ...['ipc', 'privileged', 'paths', 'ports', 'capabilities', 'sysctls'],
];

/**
 * Parses the text of a policy file. `name`: shown in front of each problem.
 * @throws ReentryError CONFIG_INVALID with all problems
 */
export function parsePolicy(name: string, content: string): Policy {
  const parsed = policySchema.safeParse(parseYamlFile(name, content) ?? {});
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap((issue) => {
    const at = issue.path.map(String);
    if (issue.code !== 'unrecognized_keys') return [{ path: `${name}: ${at.join('.')}`, message: issue.message }];
    return issue.keys.map((key) => ({
      path: `${name}: ${[...at, key].join('.')}`,
      message: `unknown field${didYouMean(key, KNOWN)}`,
    }));
  });
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  throw new ReentryError('CONFIG_INVALID', `invalid policy file:\n${lines.join('\n')}`, {
    transient: false,
    problems,
  });
}

/**
 * Why a field path cannot have an effect as a rule; `undefined` when it can. Checked when the file is loaded, because a rule that never refuses
 * anything would look like protection.
 */
function fieldProblem(text: string, rule: 'only' | 'never'): string | undefined {
  const parts = fieldParts(text);
  const [root, ...rest] = parts ?? [];
  if (root === undefined || (root.text !== 'spec' && root.text !== 'metadata')) {
    const hint = root?.text === 'pod' ? ', without pod in front' : '';
    return `must be a manifest path such as spec.containers.*.env or metadata.annotations['example.com/role']${hint}`;
  }
  const problem = below(root.text, fieldsAt(POD_FIELDS, root.text), rest);
  if (problem !== undefined || rule === 'only' || parts === undefined || !namesOwnField(parts)) return problem;
  const hint = text === 'metadata.namespace' ? '; see namespaces' : '';
  return `has no effect under never: reentry sets this field itself, or every pod needs it${hint}`;
}

const fieldsAt = (fields: Fields, name: string): Fields | undefined =>
  fields !== true && Object.hasOwn(fields, name) ? fields[name] : undefined;

/** What is wrong with the parts below field `parent`, whose own fields are `fields`. */
function below(parent: string, fields: Fields | undefined, parts: readonly FieldPart[]): string | undefined {
  const [part, ...rest] = parts;
  if (part === undefined || fields === undefined || fields === true) return undefined;
  const known = Object.keys(fields);
  if (part.text.includes('*'))
    return part.text === '*' || known.some((name) => matches(part.text, name))
      ? undefined
      : `no field of ${parent} matches ${part.text}`;
  const inner = fieldsAt(fields, part.text);
  if (inner === undefined) {
    const hint = didYouMean(part.text, known);
    // New Kubernetes versions add fields to the spec, so an unknown one is an error only when it looks like a misspelt known one.
    return hint === '' && parent !== 'metadata' ? undefined : `${parent} has no field ${part.text}${hint}`;
  }
  const name = `${parent}.${part.text}`;
  if (MAP_FIELDS.has(part.text)) return keyProblem(name, rest);
  if (SCALAR_FIELDS.has(part.text) && rest.length > 0) return `${name} has no fields`;
  if (!LIST_FIELDS.has(part.text)) return below(name, inner, rest);
  const [index, ...further] = rest;
  if (index !== undefined && index.text !== '*' && !/^\d+$/.test(index.text))
    return `${name} is a list: write ${name}.*.${index.text} for all of them`;
  return below(`${name}.*`, inner, further);
}

/** What is wrong with the parts below a map: they must be one key. */
function keyProblem(map: string, parts: readonly FieldPart[]): string | undefined {
  if (parts.length === 0) return undefined;
  if (parts.length > 1 && parts.some(({ isWhole }) => isWhole)) return `a key of ${map} has no fields`;
  const key = parts.map(({ text }) => text).join('.');
  const problem = key.includes('*') ? undefined : labelKeyProblem(key);
  return problem === undefined ? undefined : `${map} cannot have the key ${key}: it ${problem}`;
}
