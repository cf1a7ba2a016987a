/** The connections file: named clusters, and how to reach each. */
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import { didYouMean } from '../core/nearest.ts';
import { ReentryError } from '../errors.ts';

const text = z.string().min(1);

const connectionSchema = z.strictObject({
  kubeconfig: text.optional().describe('kubeconfig file'),
  context: text.optional().describe('context of the kubeconfig; default: its current context'),
  inCluster: z.boolean().optional().describe('use the service account of the pod that this process runs in'),
  namespace: text.optional().describe('namespace of pods that name none'),
  xcomSidecar: z
    .strictObject({
      image: text.optional().describe('image of the sidecar; it must contain sh, cat, wc and tr'),
      resources: z
        .record(z.string(), z.json())
        .optional()
        .describe('requests and limits of the sidecar; replace the default ones'),
      securityContext: z.record(z.string(), z.json()).optional().describe('security context of the sidecar'),
    })
    .optional()
    .describe('sidecar that carries results of pods of this cluster'),
});
/** Schema of the connections file: clusters by name. */
export const connectionsSchema = z.record(z.string().min(1), connectionSchema);
/** One cluster of the connections file. */
export type ConfiguredConnection = z.infer<typeof connectionSchema>;

/**
 * Parses a connections file: clusters by name.
 * @throws ReentryError CONFIG_INVALID with every problem
 */
export function parseConnections(name: string, content: string): Readonly<Record<string, ConfiguredConnection>> {
  const parsed = connectionsSchema.safeParse(parseYamlFile(name, content));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const path = `${name}: ${issue.path.join('.')}`;
    if (issue.code !== 'unrecognized_keys') return { path, message: issue.message };
    const known = Object.keys(connectionSchema.shape);
    return { path, message: issue.keys.map((key) => `${key}: unknown field${didYouMean(key, known)}`).join('; ') };
  });
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  throw new ReentryError('CONFIG_INVALID', `invalid connections file:\n${lines.join('\n')}`, {
    transient: false,
    problems,
  });
}
