/** Parameters of a `command` run as a request gives them. Strict: an unknown field is refused with its path. */
import { z } from 'zod';
import { commandProblem } from './command.ts';

const object = z.record(z.string(), z.json());
const seconds = z
  .number()
  .positive()
  .max(366 * 24 * 3600);
const texts = z.record(z.string(), z.string()).default({});
const NAME_A_CONNECTION = 'is not allowed in a request; name a configured connection in kubernetesConnId';

/** What a task requests for its pod, as Airflow's `executor_config`: an override, a template by name, or the dictionary of Airflow 1.10. */
const executorConfigSchema = z.strictObject({
  podOverride: object
    .nullish()
    .describe('a pod that overrides template and task; merged field by field, containers by position'),
  podTemplateFile: z.string().min(1).nullish().describe("a file's name in the executor's template folder"),
  KubernetesExecutor: object
    .nullish()
    .describe('the form of Airflow 1.10: image, request_memory, …; not together with podOverride'),
  pod_override: object.nullish(),
  pod_template_file: z.string().min(1).nullish(),
});

/** Schema of `params` of a `command` run. */
export const commandParamsSchema = z
  .strictObject({
    /** Arguments of the pod's container; the image's entry point runs them. Or one workload object. */
    command: z.array(z.union([z.string(), object])).min(1),
    executorConfig: executorConfigSchema.nullish(),
    image: z.string().min(1).nullish(),
    namespace: z.string().min(1).nullish(),
    kubernetesConnId: z.string().nullish(),
    // Shorthand for what would need an override otherwise.
    envVars: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
    labels: texts,
    annotations: texts,
    serviceAccountName: z.string().min(1).nullish(),
    containerResources: object.nullish(),
    // Lifecycle, logs, result: as for pod runs.
    startupTimeoutSeconds: seconds.nullish(),
    getLogs: z.boolean().default(true),
    loggingInterval: z.number().positive().nullish(),
    doXcomPush: z.boolean().default(false),
    xcomMode: z.enum(['auto', 'message', 'sidecar']).default('auto'),
    skipOnExitCode: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
    // Refused, with what to use instead.
    configFile: z.never(NAME_A_CONNECTION).optional(),
    inCluster: z.never(NAME_A_CONNECTION).optional(),
    clusterContext: z.never(NAME_A_CONNECTION).optional(),
  })
  .superRefine(({ command }, context) => {
    const message = commandProblem(command, 'any');
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['command'], message });
  });
/** Parameters of a `command` run, defaults filled in. */
export type CommandParams = z.output<typeof commandParamsSchema>;
/** The same as a client gives them. */
export type CommandParamsInput = z.input<typeof commandParamsSchema>;
