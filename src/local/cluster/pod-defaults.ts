import { isJsonObject, listAt, type JsonObject } from './objects.ts';

/** A pod's spec with the API server's defaults. @see https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ */
export function withDefaults(spec: JsonObject): JsonObject {
  const serviceAccount = spec['serviceAccountName'] ?? spec['serviceAccount'] ?? 'default';
  return {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    preemptionPolicy: 'PreemptLowerPriority',
    priority: 0,
    enableServiceLinks: true,
    tolerations: ['not-ready', 'unreachable'].map((key) => ({
      key: `node.kubernetes.io/${key}`,
      operator: 'Exists',
      effect: 'NoExecute',
      tolerationSeconds: 300,
    })),
    ...spec,
    serviceAccountName: serviceAccount,
    serviceAccount,
    containers: listAt(spec, 'containers').map(containerWithDefaults),
    ...(spec['initContainers'] === undefined
      ? {}
      : { initContainers: listAt(spec, 'initContainers').map(containerWithDefaults) }),
    ...(spec['volumes'] === undefined ? {} : { volumes: listAt(spec, 'volumes').map(volumeWithDefaults) }),
  };
}

function containerWithDefaults(container: unknown): unknown {
  if (!isJsonObject(container)) return container;
  const image = typeof container['image'] === 'string' ? container['image'] : '';
  // The pull policy depends on the tag: `latest`, explicit or not, can change.
  const latest = !/[:@][^/]*$/u.test(image) || image.endsWith(':latest');
  return {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: latest ? 'Always' : 'IfNotPresent',
    ...container,
  };
}

function volumeWithDefaults(volume: unknown): unknown {
  if (!isJsonObject(volume)) return volume;
  const sources = Object.keys(volume).filter((key) => key !== 'name');
  // A volume without a source is an empty directory.
  if (sources.length === 0) return { ...volume, emptyDir: {} };
  const filled = ['configMap', 'secret', 'downwardAPI', 'projected'].map((key) => {
    const source = volume[key];
    return isJsonObject(source) ? [[key, { defaultMode: 420, ...source }]] : [];
  });
  return { ...volume, ...Object.fromEntries(filled.flat()) };
}
