/** Meaning of each parameter of the `pod` operator and the field of the pod that it sets: the table of `src/operator/README.md`, read by the parity tests too. Types and defaults are in the schema. */
import type { PodParams } from '../../src/operator/pod-params.ts';

/** One parameter. */
export interface ParamFacts {
  readonly description: string;
  /** Field of the pod, in Kubernetes' JSON; `C0` is the base container. Absent: it is about behaviour. */
  readonly lands?: string;
  /** Airflow has no such parameter. */
  readonly own?: true;
  /** A worker checks it and does not use it; the library's `KubernetesPodOperator` does. */
  readonly inert?: true;
}

/** Every parameter, in the order of the table. */
export const PARAM_FACTS = {
  // identity, image, process
  image: {
    description: 'Image of the base container. Required here, in `fullPodSpec` or in the template.',
    lands: 'C0.image',
  },
  name: {
    description: 'Name of the pod, without suffix. Default: the template’s, then the task id.',
    lands: 'metadata.name',
  },
  randomNameSuffix: {
    description: 'Adds a suffix that differs for each attempt. `false`: the name as it is.',
    lands: 'metadata.name',
  },
  namespace: {
    description: 'Namespace. Default: that of `fullPodSpec`, the template, the connection, then `default`.',
    lands: 'metadata.namespace',
  },
  cmds: { description: 'Entry point. Empty: the template’s or the image’s.', lands: 'C0.command' },
  arguments: { description: 'Arguments of the entry point.', lands: 'C0.args' },
  ports: { description: 'Container ports, after the template’s.', lands: 'C0.ports' },
  envVars: {
    description:
      'Environment variables: a map, a list of `{name, value or valueFrom}`, or a template that renders to one of them.',
    lands: 'C0.env',
  },
  envFrom: { description: 'Sources of environment variables.', lands: 'C0.envFrom' },
  configmaps: {
    description: 'Names of ConfigMaps whose entries become variables, after `envFrom`.',
    lands: 'C0.envFrom',
  },
  podRuntimeInfoEnvs: {
    description: 'Environment variables from fields of the pod (downward API), after `envVars`.',
    lands: 'C0.env',
  },
  secrets: {
    description:
      'Kubernetes Secrets as variables or mounted: `{deployType: env | volume, deployTarget, secret, key, items}`.',
    lands: 'C0.env, C0.envFrom, C0.volumeMounts, spec.volumes',
  },
  imagePullPolicy: { description: '`Always`, `IfNotPresent` or `Never`.', lands: 'C0.imagePullPolicy' },
  imagePullSecrets: {
    description: 'Secrets to pull the image with: `[{name}]`, or names separated by commas.',
    lands: 'spec.imagePullSecrets',
  },
  containerResources: { description: 'Requests and limits of the base container.', lands: 'C0.resources' },
  baseContainerName: { description: 'Name of the container that decides the run.', lands: 'C0.name' },
  terminationMessagePolicy: {
    description: 'Source of the termination message.',
    lands: 'C0.terminationMessagePolicy',
  },
  containerSecurityContext: { description: 'Security context of the base container.', lands: 'C0.securityContext' },
  volumeMounts: { description: 'Mounts of the base container, after the template’s.', lands: 'C0.volumeMounts' },
  // pod
  labels: {
    description: 'Labels; they win over the template’s, and reentry’s own win over them. null is the empty text.',
    lands: 'metadata.labels',
  },
  annotations: { description: 'Annotations; they win over the template’s.', lands: 'metadata.annotations' },
  affinity: { description: 'Affinity; replaces the template’s.', lands: 'spec.affinity' },
  nodeSelector: { description: 'Labels that the node must have.', lands: 'spec.nodeSelector' },
  tolerations: { description: 'Tolerations; replace the template’s.', lands: 'spec.tolerations' },
  volumes: { description: 'Volumes, after the template’s.', lands: 'spec.volumes' },
  initContainers: {
    description: 'Init containers. One with the name of a template’s is merged with it.',
    lands: 'spec.initContainers',
  },
  serviceAccountName: { description: 'Service account of the pod.', lands: 'spec.serviceAccountName' },
  automountServiceAccountToken: {
    description: 'Mounts the service account’s token. `false` does not override a template’s `true`.',
    lands: 'spec.automountServiceAccountToken',
  },
  hostnetwork: {
    description:
      'Uses the node’s network. Refused unless the tenant’s policy allows it. `false` does not override a template’s `true`.',
    lands: 'spec.hostNetwork',
  },
  hostAliases: { description: 'Entries for the pod’s hosts file.', lands: 'spec.hostAliases' },
  securityContext: { description: 'Security context of the pod.', lands: 'spec.securityContext' },
  dnspolicy: { description: 'DNS policy.', lands: 'spec.dnsPolicy' },
  dnsConfig: { description: 'DNS servers, searches and options.', lands: 'spec.dnsConfig' },
  hostname: { description: 'Host name of the pod.', lands: 'spec.hostname' },
  subdomain: { description: 'Subdomain of the pod.', lands: 'spec.subdomain' },
  schedulername: { description: 'Scheduler that places the pod.', lands: 'spec.schedulerName' },
  priorityClassName: { description: 'Priority class.', lands: 'spec.priorityClassName' },
  runtimeClassName: { description: 'Runtime class.', lands: 'spec.runtimeClassName' },
  activeDeadlineSeconds: {
    description: 'Kubernetes ends the pod after this time; 0: no limit. The run’s execution time-out is copied here.',
    lands: 'spec.activeDeadlineSeconds',
  },
  terminationGracePeriod: {
    description: 'Seconds between SIGTERM and SIGKILL when the pod is deleted.',
    lands: 'spec.terminationGracePeriodSeconds',
  },
  fullPodSpec: {
    description: 'A whole pod. Parameters win over it; it wins over the template.',
    lands: 'the whole pod',
  },
  podTemplateFile: { description: 'Name of a file in the worker’s template folder.', lands: 'the whole pod' },
  podTemplateDict: { description: 'The template itself. Ignored with `podTemplateFile`.', lands: 'the whole pod' },
  // cluster
  kubernetesConnId: { description: 'Name of a connection of the worker. `kubernetes_default`: its first one.' },
  inCluster: { description: 'Refused in a request: the connection decides how its cluster is reached.' },
  clusterContext: { description: 'Refused in a request, as `inCluster`.' },
  configFile: { description: 'Refused in a request, as `inCluster`.' },
  // start and end
  deferrable: { description: 'Holds no worker slot while the pod runs. `false` occupies one, with the same outcome.' },
  reattachOnRestart: { description: 'Uses a live pod of this run, if there is one, instead of creating another.' },
  durable: { description: 'Airflow’s newer name of `reattachOnRestart`. Both must be true.' },
  startupTimeoutSeconds: { description: 'Time from scheduling to running.' },
  scheduleTimeoutSeconds: { description: 'Time to be scheduled. Default: `startupTimeoutSeconds` covers both.' },
  startupCheckIntervalSeconds: {
    description:
      'Accepted; no effect: pods are watched, not polled. In the library: seconds between two requests while a pod starts.',
    inert: true,
  },
  pollInterval: { description: 'Accepted; no effect. In the library: passed to the trigger.', inert: true },
  baseContainerStatusPollingInterval: {
    description: 'Accepted; no effect. In the library: seconds between two requests while the base container runs.',
    inert: true,
  },
  onFinishAction: {
    description: 'What to do with the pod when its attempt has ended.',
  },
  isDeleteOperatorPod: { description: 'Older form: without `onFinishAction`, `false` is `keep_pod`.' },
  onKillAction: { description: 'What to do with the pod when the run is cancelled.' },
  skipOnExitCode: { description: 'Exit codes that end the run as `skipped`. 0 is allowed.' },
  triggerKwargs: {
    description: 'Values added to the event that `onOperatorResuming` gets. They never replace a field of the event.',
  },
  // logs and results
  getLogs: { description: 'Stores the containers’ output.' },
  containerLogs: { description: 'Which containers: a name, names, or `true` for all. Default: the base container.' },
  initContainerLogs: { description: 'Which init containers. Default: none.' },
  loggingInterval: {
    description: 'Seconds between two times that the log is stored while the pod runs. Default: only at its end.',
  },
  containerNameLogPrefixEnabled: {
    description:
      'Readers show `[container]` before each line of a log of several containers. Stored lines have no prefix.',
  },
  logFormatter: { description: 'Name of a registered function that makes the stored text of each line.' },
  logEventsOnStartup: {
    description:
      'Stores the pod’s events as the log `pod.startup` when a start fails, or takes longer than 30 s or half its time-out: once while it lasts (with `loggingInterval`), and at its end.',
  },
  logEventsOnFailure: {
    description: 'Stores container states and the pod’s events of a failed attempt as the log `pod.events`.',
  },
  logPodSpecOnFailure: {
    description: 'Stores the pod of a failed attempt, environment values hidden, as the log `pod.spec`.',
  },
  doXcomPush: { description: 'The run has a result.' },
  xcomMode: {
    description:
      'Source of the result: `message` (termination message, no sidecar), `sidecar` (the file), `auto` (either).',
    own: true,
  },
  xcomSidecarContainerSecurityContext: {
    description: 'Security context of the result sidecar. `{}` overrides the connection’s.',
    lands: 'spec.containers[-1].securityContext',
  },
  callbacks: { description: 'Names of registered callbacks, in the order of their calls.' },
  progressCallback: {
    description: 'Older form: registered callbacks of which only `progressCallback` is called. Use `callbacks`.',
  },
} as const satisfies Readonly<Record<keyof PodParams, ParamFacts>>;
