/** The fields of a pod that Kubernetes knows, and their kinds. */

/** Known fields below a field. `true`: not listed further. List items share one entry. */
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

/**
 * Fields of a pod, to the depth that strict field validation is tested.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
 */
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

/** Fields of `POD_FIELDS` that are lists. */
export const LIST_FIELDS: ReadonlySet<string> = new Set(
  [
    'containers initContainers ephemeralContainers volumes imagePullSecrets schedulingGates hostAliases tolerations readinessGates',
    'topologySpreadConstraints resourceClaims finalizers ownerReferences managedFields command args ports env envFrom volumeMounts',
    'volumeDevices resizePolicy restartPolicyRules items sources hostnames claims',
  ].flatMap((names) => names.split(' ')),
);

/** Fields of `POD_FIELDS` that are maps with the user's own keys. */
export const MAP_FIELDS: ReadonlySet<string> = new Set(
  'labels annotations nodeSelector overhead limits requests'.split(' '),
);

/** Fields of `POD_FIELDS` that have no fields below them. */
export const SCALAR_FIELDS: ReadonlySet<string> = new Set(
  [
    'name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds',
    'restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy serviceAccountName serviceAccount nodeName hostNetwork',
    'automountServiceAccountToken hostPID hostIPC shareProcessNamespace hostname subdomain schedulerName priorityClassName priority',
    'runtimeClassName enableServiceLinks preemptionPolicy setHostnameAsFQDN hostUsers hostnameOverride image workingDir mountPath subPath',
    'terminationMessagePath terminationMessagePolicy imagePullPolicy stdin stdinOnce tty targetContainerName value readOnly secretName',
  ].flatMap((names) => names.split(' ')),
);
