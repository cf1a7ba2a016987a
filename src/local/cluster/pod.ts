import { z } from 'zod';
import { badRequest } from './failure.ts';
import type { KubeObject } from './objects.ts';

const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const text = optional(z.string());
const count = optional(z.number().int());
const flag = optional(z.boolean());
const texts = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);
const textMap = z
  .record(z.string(), z.string())
  .nullish()
  .transform((map) => map ?? {});
const quantities = z
  .record(z.string(), z.union([z.string(), z.number()]))
  .nullish()
  .transform((map) => map ?? {});
const listOf = <T extends z.ZodType>(schema: T) =>
  z
    .array(schema)
    .nullish()
    .transform((list) => list ?? []);

const keyRef = z.looseObject({ name: z.string().default(''), key: z.string(), optional: flag });
const fieldRef = z.looseObject({ fieldPath: z.string() });
const resourceFieldRef = z.looseObject({ resource: z.string(), containerName: text });
const items = listOf(z.looseObject({ key: z.string(), path: z.string(), mode: count }));
const downwardItems = listOf(
  z.looseObject({
    path: z.string(),
    fieldRef: optional(fieldRef),
    resourceFieldRef: optional(resourceFieldRef),
    mode: count,
  }),
);
const named = z.looseObject({ name: z.string().default(''), optional: flag });

const container = z.looseObject({
  name: z.string().default(''),
  image: z.string().default(''),
  command: texts,
  args: texts,
  workingDir: text,
  restartPolicy: text,
  env: listOf(
    z.looseObject({
      name: z.string().default(''),
      value: text,
      valueFrom: optional(
        z.looseObject({
          fieldRef: optional(fieldRef),
          resourceFieldRef: optional(resourceFieldRef),
          configMapKeyRef: optional(keyRef),
          secretKeyRef: optional(keyRef),
        }),
      ),
    }),
  ),
  envFrom: listOf(z.looseObject({ prefix: text, configMapRef: optional(named), secretRef: optional(named) })),
  volumeMounts: listOf(
    z.looseObject({
      name: z.string().default(''),
      mountPath: z.string().default(''),
      readOnly: flag,
      subPath: text,
      subPathExpr: text,
    }),
  ),
  resources: optional(z.looseObject({ limits: quantities, requests: quantities })),
  terminationMessagePath: text,
  terminationMessagePolicy: text,
  imagePullPolicy: text,
  securityContext: optional(z.looseObject({ readOnlyRootFilesystem: flag })),
});

const volume = z.looseObject({
  name: z.string().default(''),
  emptyDir: optional(z.looseObject({})),
  hostPath: optional(z.looseObject({ path: z.string(), type: text })),
  configMap: optional(z.looseObject({ name: z.string().default(''), items, optional: flag })),
  secret: optional(z.looseObject({ secretName: z.string().default(''), items, optional: flag })),
  downwardAPI: optional(z.looseObject({ items: downwardItems })),
  projected: optional(
    z.looseObject({
      sources: listOf(
        z.looseObject({
          configMap: optional(z.looseObject({ name: z.string().default(''), items, optional: flag })),
          secret: optional(z.looseObject({ name: z.string().default(''), items, optional: flag })),
          downwardAPI: optional(z.looseObject({ items: downwardItems })),
          serviceAccountToken: optional(z.looseObject({ path: z.string() })),
        }),
      ),
    }),
  ),
});

const podSpecSchema = z.looseObject({
  containers: listOf(container),
  initContainers: listOf(container),
  volumes: listOf(volume),
  restartPolicy: text,
  terminationGracePeriodSeconds: count,
  activeDeadlineSeconds: count,
  nodeName: text,
  nodeSelector: textMap,
  schedulingGates: listOf(z.looseObject({ name: z.string() })),
  serviceAccountName: text,
  hostname: text,
});

/** The parts of a pod's spec that the local cluster reads. */
export type PodSpec = z.output<typeof podSpecSchema>;
/** The parts of a container that it reads. */
export type Container = PodSpec['containers'][number];
/** The parts of a volume that it reads. */
export type Volume = PodSpec['volumes'][number];

/**
 * The spec of a pod, typed.
 * @throws ApiFailure 400 when a field has the wrong type
 */
export function podSpec(object: KubeObject): PodSpec {
  const parsed = podSpecSchema.safeParse(object['spec'] ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw badRequest(
    `Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal field Pod.spec.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong type'}`,
  );
}

/** A native sidecar: an init container that runs beside the others until they have ended. */
export function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}
