/** Parameters of a `pod` run as a request gives them: those of Airflow's KubernetesPodOperator, in camelCase. Strict: an unknown field is refused with its path. */
import { z } from 'zod';

const object = z.record(z.string(), z.json());
const seconds = z
  .number()
  .nonnegative()
  .max(366 * 24 * 3600);
const labelValue = z.union([z.string(), z.null()]);
/** A list; null means empty, as in Airflow. */
const listOf = <Item extends z.ZodType>(item: Item) =>
  z
    .array(item)
    .nullish()
    .transform((list) => list ?? []);
/** A map; null means empty. */
const mapOf = <Value extends z.ZodType>(value: Value) =>
  z
    .record(z.string(), value)
    .nullish()
    .transform((map) => map ?? {});
const container = z.looseObject({ name: z.string().min(1) });
const named = z.looseObject({ name: z.string().min(1) });
const envVar = z.looseObject({ name: z.string().min(1), value: z.string().optional(), valueFrom: object.optional() });

/** Amounts by resource; numbers become text. */
const quantities = z.record(z.string(), z.union([z.string(), z.number()]).transform(String)).nullish();
/** A value of the map form; null declares the variable without a value. */
const envValue = z.union([z.string(), z.number(), z.boolean(), z.null()]);
/** A text with a template in it, rendered later. */
const TEMPLATE = /\{[{%]/;
const NOT_VARIABLES =
  'must be a map of names to values, a list of variables, or a template that renders to one of them';

/** A Kubernetes Secret for the base container. The request names it; its value is never in a message. */
const secretSchema = z
  .strictObject({
    deployType: z.enum(['env', 'volume']),
    deployTarget: z.string().min(1).nullish(),
    secret: z.string().min(1),
    key: z.string().min(1).nullish(),
    items: z.array(object).default([]),
  })
  .refine(({ key, deployTarget }) => typeof key !== 'string' || typeof deployTarget === 'string', {
    path: ['deployTarget'],
    error: 'is required with `key`',
  })
  .refine(({ deployType, deployTarget }) => deployType !== 'volume' || typeof deployTarget === 'string', {
    path: ['deployTarget'],
    error: 'is required to mount a secret',
  });

/** What is done with the pod after its attempt. */
const ON_FINISH_ACTIONS = ['delete_pod', 'delete_succeeded_pod', 'delete_active_pod', 'keep_pod'] as const;

const NAME_A_CONNECTION = 'is not allowed in a request; name a configured connection in kubernetesConnId';

const fields = z.strictObject({
  // identity, image, process
  kubernetesConnId: z.string().nullish(),
  namespace: z.string().nullish(),
  image: z.string().nullish(),
  name: z.string().nullish(),
  randomNameSuffix: z.boolean().default(true),
  cmds: listOf(z.string()),
  arguments: listOf(z.string()),
  ports: listOf(object),
  envVars: z
    .union([z.record(z.string(), envValue), z.array(envVar), z.string().regex(TEMPLATE, NOT_VARIABLES)], NOT_VARIABLES)
    .nullish()
    .transform((variables) => variables ?? []),
  envFrom: listOf(object),
  configmaps: listOf(z.string().min(1)),
  podRuntimeInfoEnvs: listOf(envVar),
  secrets: listOf(secretSchema),
  imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).nullish(),
  imagePullSecrets: z.union([z.string(), z.array(named)]).default([]),
  containerResources: z.looseObject({ limits: quantities, requests: quantities }).nullish(),
  baseContainerName: z
    .string()
    .nullish()
    .transform((name) => (name === undefined || name === null || name === '' ? 'base' : name)),
  terminationMessagePolicy: z.enum(['File', 'FallbackToLogsOnError', '']).nullable().default('File'),
  containerSecurityContext: object.nullish(),
  volumes: listOf(named),
  volumeMounts: listOf(named),
  // pod
  labels: mapOf(labelValue),
  annotations: mapOf(z.string()),
  affinity: mapOf(z.json()),
  nodeSelector: mapOf(z.string()),
  tolerations: listOf(object),
  initContainers: listOf(container),
  serviceAccountName: z.string().nullish(),
  automountServiceAccountToken: z.boolean().nullish(),
  hostnetwork: z.boolean().default(false),
  hostAliases: z.array(object).nullish(),
  securityContext: mapOf(z.json()),
  dnspolicy: z.string().nullish(),
  dnsConfig: object.nullish(),
  hostname: z.string().nullish(),
  subdomain: z.string().nullish(),
  schedulername: z.string().nullish(),
  priorityClassName: z.string().nullish(),
  runtimeClassName: z.string().nullish(),
  activeDeadlineSeconds: z.number().int().nonnegative().nullish(),
  terminationGracePeriod: z.number().int().nonnegative().nullish(),
  fullPodSpec: object.nullish(),
  podTemplateFile: z.string().min(1).nullish(),
  podTemplateDict: object.nullish(),
  // lifecycle, logs, results
  reattachOnRestart: z.boolean().default(true),
  durable: z.boolean().default(true),
  startupTimeoutSeconds: seconds.default(120),
  scheduleTimeoutSeconds: seconds.nullish(),
  baseContainerStatusPollingInterval: seconds.default(1),
  startupCheckIntervalSeconds: seconds.default(5),
  getLogs: z.boolean().default(true),
  containerNameLogPrefixEnabled: z.boolean().default(true),
  logFormatter: z.string().min(1).nullish(),
  containerLogs: z.union([z.boolean(), z.string(), z.array(z.string())]).nullish(),
  initContainerLogs: z.union([z.boolean(), z.string(), z.array(z.string())]).nullish(),
  logEventsOnStartup: z.boolean().default(true),
  logEventsOnFailure: z.boolean().default(false),
  logPodSpecOnFailure: z.boolean().default(true),
  doXcomPush: z.boolean().default(false),
  xcomSidecarContainerSecurityContext: object.nullish(),
  xcomMode: z.enum(['auto', 'message', 'sidecar']).default('auto'),
  skipOnExitCode: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
  onFinishAction: z.enum(ON_FINISH_ACTIONS).optional(),
  onKillAction: z.enum(['delete_pod', 'keep_pod']).default('delete_pod'),
  isDeleteOperatorPod: z.boolean().nullish(),
  /** Names of callbacks registered in the worker. */
  callbacks: z.union([z.string().min(1), z.array(z.string().min(1))]).nullish(),
  progressCallback: z.string().min(1).nullish(),
  triggerKwargs: mapOf(z.json()),
  deferrable: z.boolean().default(true),
  pollInterval: seconds.default(2),
  loggingInterval: z.number().positive().nullish(),
  // refused, with what to use instead
  configFile: z.never(NAME_A_CONNECTION).nullish(),
  inCluster: z.never(NAME_A_CONNECTION).nullish(),
  clusterContext: z.never(NAME_A_CONNECTION).nullish(),
});

/** The meaning of Airflow's older flag where `onFinishAction` is not given. */
const finishAction = (isDeleteOperatorPod: boolean | null | undefined): (typeof ON_FINISH_ACTIONS)[number] =>
  isDeleteOperatorPod === false ? 'keep_pod' : 'delete_pod';

/** Schema of `params` of a `pod` run. Idempotent: rendered parameters are parsed again. */
export const podParamsSchema = fields.transform((params) => ({
  ...params,
  onFinishAction: params.onFinishAction ?? finishAction(params.isDeleteOperatorPod),
}));
/** Parameters of a `pod` run, defaults filled in. */
export type PodParams = z.output<typeof podParamsSchema>;
/** The same as a client gives them. */
export type PodParamsInput = z.input<typeof podParamsSchema>;
