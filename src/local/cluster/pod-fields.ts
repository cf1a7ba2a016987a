import { isJsonObject, type JsonObject } from './objects.ts';

/** The known fields below a field: `true` is anything, an object lists them; a list's items share one entry. */
export type Fields = true | { readonly [field: string]: Fields };

const all = (names: string): { readonly [field: string]: true } =>
  Object.fromEntries(names.split(' ').map((name) => [name, true as const]));

const keyRef = all('name key optional');
const items = all('key path mode');
const fieldRef = all('apiVersion fieldPath');
const downwardItems = { ...all('path mode'), fieldRef, resourceFieldRef: true } as const;

const container = {
  ...all(
    'name image command args workingDir ports resizePolicy restartPolicy restartPolicyRules volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty',
  ),
  env: {
    ...all('name value'),
    valueFrom: { fieldRef, resourceFieldRef: true, configMapKeyRef: keyRef, secretKeyRef: keyRef, fileKeyRef: true },
  },
  envFrom: { prefix: true, configMapRef: all('name optional'), secretRef: all('name optional') },
  resources: all('limits requests claims'),
  volumeMounts: all('name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr'),
} as const;

const volume = {
  ...all(
    'name awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk gitRepo glusterfs image iscsi nfs persistentVolumeClaim photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume',
  ),
  emptyDir: all('medium sizeLimit'),
  hostPath: all('path type'),
  configMap: { ...all('name optional defaultMode'), items },
  secret: { ...all('secretName optional defaultMode'), items },
  downwardAPI: { defaultMode: true, items: downwardItems },
  projected: {
    defaultMode: true,
    sources: {
      ...all('clusterTrustBundle podCertificate'),
      configMap: { ...all('name optional'), items },
      secret: { ...all('name optional'), items },
      downwardAPI: { items: downwardItems },
      serviceAccountToken: all('audience expirationSeconds path'),
    },
  },
} as const;

/** Every field of a pod, as deep as the tests of strict validation go. @see https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ */
export const POD_FIELDS: Fields = {
  ...all('apiVersion kind status'),
  metadata: {
    ...all(
      'name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds labels annotations finalizers managedFields',
    ),
    ownerReferences: all('apiVersion kind name uid controller blockOwnerDeletion'),
  },
  spec: {
    ...all(
      'restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext hostname subdomain affinity schedulerName priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os hostUsers resourceClaims resources hostnameOverride workloadRef',
    ),
    containers: container,
    initContainers: container,
    ephemeralContainers: { ...container, targetContainerName: true },
    volumes: volume,
    imagePullSecrets: all('name'),
    schedulingGates: all('name'),
    hostAliases: all('ip hostnames'),
    tolerations: all('key operator value effect tolerationSeconds'),
  },
};

/** A value without the fields nobody knows, and the paths of what was left out. */
export function pruned(
  value: JsonObject,
  fields: Fields,
): { readonly value: JsonObject; readonly unknown: readonly string[] } {
  const unknown: string[] = [];
  const cut = prune(value, fields, '', unknown);
  return { value: isJsonObject(cut) ? cut : {}, unknown };
}

function prune(value: unknown, fields: Fields, path: string, unknown: string[]): unknown {
  if (fields === true) return value;
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) => prune(item, fields, `${path}[${String(index)}]`, unknown));
  }
  if (!isJsonObject(value)) return value;
  const kept: [string, unknown][] = [];
  for (const [key, inner] of Object.entries(value)) {
    const at = path === '' ? key : `${path}.${key}`;
    const below = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (below === undefined) unknown.push(at);
    else kept.push([key, prune(inner, below, at, unknown)]);
  }
  return Object.fromEntries(kept);
}
