/** The generated files of the chart, from the tables in code that they describe. */
import { z } from 'zod';
import { ROLES } from '../../src/process/roles.ts';
import { configSchema, DEFAULT_CONFIG, SETTINGS } from '../../src/config.ts';
import { connectionsSchema } from '../../src/process/connections-file.ts';
import type { SettingName } from '../../src/config.ts';
import { CLUSTER_ACCESS } from '../../src/core/rbac.ts';
import type { ClusterAccess } from '../../src/core/rbac.ts';
import { isRecord } from '../../src/core/json.ts';
import { natsUserPermissions, PERMISSION_ROLES, permissionsOf } from '../../src/wire/permissions.ts';
import { policySchema } from '../../src/policy/policy-file.ts';
import { layoutOf } from '../../src/wire/streams.ts';

/** Settings that the chart derives from the values named here, or that have no use in a pod. */
export const NOT_IN_VALUES: Readonly<Partial<Record<SettingName, string>>> = {
  natsCreds: 'nats.auth',
  natsToken: 'nats.auth',
  natsTokenFile: 'nats.auth',
  natsUser: 'nats.auth',
  natsPassFile: 'nats.auth',
  natsTlsCa: 'nats.tls',
  natsTlsCert: 'nats.tls',
  natsTlsKey: 'nats.tls',
  natsServer: 'only for dev and demo',
  cacheFolder: 'only for dev and demo',
  kubeconfig: 'connections',
  context: 'connections',
  connections: 'connections',
  namespaces: 'namespaces, clusterWide',
  queues: 'workers.<pool>.queues, serve.queues',
  executorQueues: 'executors.<pool>.queues, serve.executorQueues',
  policy: 'policy',
  templateFolder: 'templates',
};

type JsonSchema = Readonly<Record<string, unknown>>;
const text: JsonSchema = { type: 'string' };
const flag: JsonSchema = { type: 'boolean' };
const map: JsonSchema = { type: 'object' };
const list: JsonSchema = { type: 'array' };
const strings: JsonSchema = { type: 'array', items: text };
const object = (properties: Readonly<Record<string, JsonSchema>>): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
});

const schemaParts = z.looseObject({ default: z.unknown().optional() });

/** Schema of one setting in values.yaml. */
function settingSchema(name: SettingName): JsonSchema {
  const { help, value } = SETTINGS.find((row) => row.name === name) ?? { help: '', value: '' };
  const { default: preset, ...own } = schemaParts.parse(
    z.toJSONSchema(configSchema.shape[name], { io: 'output', unrepresentable: 'any', target: 'draft-7' }),
  );
  delete own['$schema'];
  return { description: `${help} (${value})`, ...own, ...(preset === undefined ? {} : { default: preset }) };
}

const settings = (): JsonSchema =>
  object(
    Object.fromEntries(
      SETTINGS.filter(({ name }) => !(name in NOT_IN_VALUES)).map(({ name }) => [name, settingSchema(name)]),
    ),
  );

/** The JSON Schema of a file that a value becomes. References, which hold in a document of their own only, stand for any JSON. */
function embedded(schema: z.ZodType): JsonSchema {
  const whole = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', target: 'draft-7' });
  const anyJson = (_: string, value: unknown): unknown => (isRecord(value) && '$ref' in value ? {} : value);
  const own: unknown = JSON.parse(JSON.stringify(whole), anyJson);
  return Object.fromEntries(
    Object.entries(schemaParts.parse(own)).filter(([key]) => key !== '$schema' && key !== 'definitions'),
  );
}

/** JSON Schema of values.yaml: every setting from the table, everything else from here. */
export function valuesSchema(): JsonSchema {
  const config: JsonSchema = { $ref: '#/definitions/settings' };
  const pod: Readonly<Record<string, JsonSchema>> = {
    replicas: { type: 'integer', minimum: 0 },
    resources: map,
    podDisruptionBudget: object({ enabled: flag, maxUnavailable: { type: ['integer', 'string'] } }),
    topologySpread: object({ enabled: flag, whenUnsatisfiable: { enum: ['ScheduleAnyway', 'DoNotSchedule'] } }),
    terminationGracePeriodSeconds: { anyOf: [{ type: 'integer', minimum: 1 }, { const: '' }] },
    autoscaling: object({
      enabled: flag,
      minReplicas: { type: 'integer', minimum: 1 },
      maxReplicas: { type: 'integer', minimum: 1 },
      metric: text,
      selector: map,
      target: { type: ['integer', 'string'] },
    }),
    nodeSelector: map,
    tolerations: list,
    affinity: map,
    priorityClassName: text,
    podAnnotations: map,
    podLabels: map,
    extraEnv: list,
    extraVolumes: list,
    extraVolumeMounts: list,
    serviceAccountAnnotations: map,
  };
  const queues = { type: 'array', minItems: 1, items: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,32}$' } };
  const pools = {
    type: 'object',
    propertyNames: { pattern: '^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$' },
    additionalProperties: {
      ...object({ enabled: flag, queues, config, ...pod }),
      required: ['queues'],
    },
  };
  const dnsLabel = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart reentry; generated from the settings table (npm run docs)',
    definitions: { settings: settings() },
    ...object({
      global: map,
      config,
      image: object({
        repository: { type: 'string', minLength: 1 },
        tag: text,
        digest: { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      }),
      imagePullSecrets: list,
      nameOverride: text,
      fullnameOverride: text,
      namespaces: { type: 'array', items: dnsLabel },
      clusterWide: flag,
      createNamespaces: flag,
      rbac: object({ create: flag }),
      results: object({ exec: flag }),
      nats: object({
        auth: object({ method: { enum: ['none', 'password', 'creds', 'token'] }, secret: text }),
        tls: object({ secret: text, clientCertificate: flag }),
        users: object({
          enabled: flag,
          tenants: {
            type: 'array',
            items: {
              ...object({
                name: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,128}$' },
                feeds: { type: 'array', items: { type: 'string', pattern: '^[A-Za-z0-9-]{1,32}$' } },
              }),
              required: ['name'],
            },
          },
        }),
      }),
      policy: embedded(policySchema),
      connections: embedded(connectionsSchema),
      connectionSecrets: strings,
      templates: map,
      setup: object({ enabled: flag, hook: text, config, resources: map }),
      defaults: object(pod),
      serve: object({
        enabled: flag,
        // A single role is a pool of its kind, or the triggerer.
        roles: { type: 'array', minItems: 2, uniqueItems: true, items: { enum: [...ROLES] } },
        queues,
        executorQueues: queues,
        config,
        ...pod,
      }),
      workers: pools,
      executors: pools,
      triggerer: object({ enabled: flag, config, ...pod }),
      networkPolicy: object({
        enabled: flag,
        ingressFrom: list,
        natsPorts: { type: 'array', items: { type: 'integer' } },
        apiServerPorts: { type: 'array', items: { type: 'integer' } },
        extraEgress: list,
      }),
      serviceMonitor: object({ enabled: flag, interval: text, labels: map }),
      alerts: object({ enabled: flag, labels: map, waitingRuns: { type: 'integer' } }),
    }),
  };
}

/** Rules of each role's Role: verbs by resource, in the table's order. */
export function clusterAccessRules(): Readonly<Record<string, readonly object[]>> {
  return Object.fromEntries(
    Object.entries(CLUSTER_ACCESS).map(([role, table]: [string, readonly ClusterAccess[]]) => {
      const rules = new Map<string, { resource: string; verbs: string[]; onlyFor: string }>();
      for (const { verb, resource, subresource, onlyFor = '' } of table) {
        const name = subresource === undefined ? resource : `${resource}/${subresource}`;
        const rule = rules.get(name) ?? { resource: name, verbs: [], onlyFor };
        rule.verbs.push(verb);
        rules.set(name, rule);
      }
      return [role, [...rules.values()]];
    }),
  );
}

/** NATS permissions with placeholders, which the chart fills in: `ROOT__`, `PREFIX__`, `TENANT__`, `QUEUE__`, `FEED__`. */
export function natsPermissionTemplates(): Readonly<Record<string, object>> {
  const layout = layoutOf('ROOT__', 'PREFIX__');
  const scope = { tenant: 'TENANT__', queues: ['QUEUE__'], executorQueues: ['QUEUE__'], feeds: ['FEED__'] };
  return Object.fromEntries(
    PERMISSION_ROLES.map((role) => {
      const { publish, subscribe, allow_responses } = natsUserPermissions(permissionsOf([role], layout, scope));
      const responses = allow_responses === undefined ? {} : { allow_responses };
      return [role, { publish: publish.allow, subscribe: subscribe.allow, ...responses }];
    }),
  );
}

/** Defaults of the settings that the chart's values may set, for templates that need one where no value is given. */
export function settingDefaults(): Readonly<Record<string, unknown>> {
  const inValues = Object.entries(DEFAULT_CONFIG).filter(([name]) => !Object.hasOwn(NOT_IN_VALUES, name));
  return Object.fromEntries(inValues.filter(([, value]) => value !== undefined));
}

/** Generated files by their path below the repository. */
export function chartFiles(): Readonly<Record<string, string>> {
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  return {
    'helm/values.schema.json': json(valuesSchema()),
    'helm/files/defaults.json': json(settingDefaults()),
    'helm/files/cluster-access.json': json(clusterAccessRules()),
    'helm/files/nats-permissions.json': json(natsPermissionTemplates()),
  };
}
