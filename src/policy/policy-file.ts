/** The policy file (`REENTRY_POLICY`): what each tenant's pods may be. @see core/policy.ts for what the rules mean */
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { nearest } from '../core/nearest.ts';
import type { Policy, TenantPolicy } from './policy.ts';
import { quantityOf } from '../core/quantity.ts';
import { ReentryError } from '../errors.ts';
import { fieldProblem } from './file-fields.ts';

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
 * The policy in a file's text.
 * @throws ReentryError CONFIG_INVALID with every problem
 */
export function parsePolicy(name: string, content: string): Policy {
  const parsed = policySchema.safeParse(parseYamlFile(name, content) ?? {});
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap((issue) => {
    const at = issue.path.map(String);
    if (issue.code !== 'unrecognized_keys') return [{ path: `${name}: ${at.join('.')}`, message: issue.message }];
    return issue.keys.map((key) => {
      const near = nearest(key, KNOWN);
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      return { path: `${name}: ${[...at, key].join('.')}`, message: `unknown field${hint}` };
    });
  });
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  throw new ReentryError('CONFIG_INVALID', `the policy is not right:\n${lines.join('\n')}`, {
    transient: false,
    problems,
  });
}
