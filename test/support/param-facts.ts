/** What each parameter of the `pod` operator means and where it stands in the pod: the table of `src/operator/README.md`, read by the parity tests too. Types and defaults are in the schema. */
import type { PodParams } from '../../src/operator/pod-params.ts';

/** One parameter. */
export interface ParamFacts {
  readonly says: string;
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
    says: 'Image of the base container. Required here, in `fullPodSpec` or in the template.',
    lands: 'C0.image',
  },
  name: { says: 'Name of the pod, without suffix. Default: the template’s, then the task id.', lands: 'metadata.name' },
  randomNameSuffix: {
    says: 'Adds a suffix that differs for each attempt. `false`: the name as it is.',
    lands: 'metadata.name',
  },
  namespace: {
    says: 'Namespace. Default: that of `fullPodSpec`, the template, the connection, then `default`.',
    lands: 'metadata.namespace',
  },
  cmds: { says: 'Entry point. Empty: the template’s or the image’s.', lands: 'C0.command' },
  arguments: { says: 'Arguments of the entry point.', lands: 'C0.args' },
  ports: { says: 'Container ports, after the template’s.', lands: 'C0.ports' },
  envVars: {
    says: 'Environment variables: a map, a list of `{name, value or valueFrom}`, or a template that renders to one of them.',
    lands: 'C0.env',
  },
  envFrom: { says: 'Sources of environment variables.', lands: 'C0.envFrom' },
  configmaps: { says: 'Names of ConfigMaps whose entries become variables, after `envFrom`.', lands: 'C0.envFrom' },
  podRuntimeInfoEnvs: {
    says: 'Environment variables from fields of the pod (downward API), after `envVars`.',
    lands: 'C0.env',
  },
  secrets: {
    says: 'Kubernetes Secrets as variables or mounted: `{deployType: env | volume, deployTarget, secret, key, items}`.',
    lands: 'C0.env, C0.envFrom, C0.volumeMounts, spec.volumes',
  },
  imagePullPolicy: { says: '`Always`, `IfNotPresent` or `Never`.', lands: 'C0.imagePullPolicy' },
  imagePullSecrets: {
    says: 'Secrets to pull the image with: `[{name}]`, or names separated by commas.',
    lands: 'spec.imagePullSecrets',
  },
  containerResources: { says: 'Requests and limits of the base container.', lands: 'C0.resources' },
  baseContainerName: { says: 'Name of the container that decides the run.', lands: 'C0.name' },
  terminationMessagePolicy: {
    says: 'Source of the termination message.',
    lands: 'C0.terminationMessagePolicy',
  },
  containerSecurityContext: { says: 'Security context of the base container.', lands: 'C0.securityContext' },
  volumeMounts: { says: 'Mounts of the base container, after the template’s.', lands: 'C0.volumeMounts' },
  // pod
  labels: {
    says: 'Labels; they win over the template’s, and reentry’s own win over them. null is the empty text.',
    lands: 'metadata.labels',
  },
  annotations: { says: 'Annotations; they win over the template’s.', lands: 'metadata.annotations' },
  affinity: { says: 'Affinity; replaces the template’s.', lands: 'spec.affinity' },
  nodeSelector: { says: 'Labels that the node must have.', lands: 'spec.nodeSelector' },
  tolerations: { says: 'Tolerations; replace the template’s.', lands: 'spec.tolerations' },
  volumes: { says: 'Volumes, after the template’s.', lands: 'spec.volumes' },
  initContainers: {
    says: 'Init containers. One with the name of a template’s is merged with it.',
    lands: 'spec.initContainers',
  },
  serviceAccountName: { says: 'Service account of the pod.', lands: 'spec.serviceAccountName' },
  automountServiceAccountToken: {
    says: 'Mounts the service account’s token. `false` does not override a template’s `true`.',
    lands: 'spec.automountServiceAccountToken',
  },
  hostnetwork: {
    says: 'Uses the node’s network. Refused unless the tenant’s policy allows it. `false` does not override a template’s `true`.',
    lands: 'spec.hostNetwork',
  },
  hostAliases: { says: 'Entries for the pod’s hosts file.', lands: 'spec.hostAliases' },
  securityContext: { says: 'Security context of the pod.', lands: 'spec.securityContext' },
  dnspolicy: { says: 'DNS policy.', lands: 'spec.dnsPolicy' },
  dnsConfig: { says: 'DNS servers, searches and options.', lands: 'spec.dnsConfig' },
  hostname: { says: 'Host name of the pod.', lands: 'spec.hostname' },
  subdomain: { says: 'Subdomain of the pod.', lands: 'spec.subdomain' },
  schedulername: { says: 'Scheduler that places the pod.', lands: 'spec.schedulerName' },
  priorityClassName: { says: 'Priority class.', lands: 'spec.priorityClassName' },
  runtimeClassName: { says: 'Runtime class.', lands: 'spec.runtimeClassName' },
  activeDeadlineSeconds: {
    says: 'Kubernetes ends the pod after this time; 0: no limit. The run’s execution time-out is copied here.',
    lands: 'spec.activeDeadlineSeconds',
  },
  terminationGracePeriod: {
    says: 'Seconds between SIGTERM and SIGKILL when the pod is deleted.',
    lands: 'spec.terminationGracePeriodSeconds',
  },
  fullPodSpec: { says: 'A whole pod. Parameters win over it; it wins over the template.', lands: 'the whole pod' },
  podTemplateFile: { says: 'Name of a file in the worker’s template folder.', lands: 'the whole pod' },
  podTemplateDict: { says: 'The template itself. Ignored with `podTemplateFile`.', lands: 'the whole pod' },
  // cluster
  kubernetesConnId: { says: 'Name of a connection of the worker. `kubernetes_default`: its first one.' },
  inCluster: { says: 'Refused in a request: the connection decides how its cluster is reached.' },
  clusterContext: { says: 'Refused in a request, as `inCluster`.' },
  configFile: { says: 'Refused in a request, as `inCluster`.' },
  // start and end
  deferrable: { says: 'Holds no worker slot while the pod runs. `false` occupies one, with the same outcome.' },
  reattachOnRestart: { says: 'Uses a live pod of this run, if there is one, instead of creating another.' },
  durable: { says: 'Airflow’s newer name of `reattachOnRestart`. Both must be true.' },
  startupTimeoutSeconds: { says: 'Time from scheduling to running.' },
  scheduleTimeoutSeconds: { says: 'Time to be scheduled. Default: `startupTimeoutSeconds` covers both.' },
  startupCheckIntervalSeconds: {
    says: 'Accepted; no effect: pods are watched, not polled. In the library: seconds between two requests while a pod starts.',
    inert: true,
  },
  pollInterval: { says: 'Accepted; no effect. In the library: passed to the trigger.', inert: true },
  baseContainerStatusPollingInterval: {
    says: 'Accepted; no effect. In the library: seconds between two requests while the base container runs.',
    inert: true,
  },
  onFinishAction: {
    says: 'What to do with the pod when its attempt has ended.',
  },
  isDeleteOperatorPod: { says: 'Older form: without `onFinishAction`, `false` is `keep_pod`.' },
  onKillAction: { says: 'What to do with the pod when the run is cancelled.' },
  skipOnExitCode: { says: 'Exit codes that end the run as `skipped`. 0 is allowed.' },
  triggerKwargs: {
    says: 'Values added to the event that `onOperatorResuming` gets. They never replace a field of the event.',
  },
  // logs and results
  getLogs: { says: 'Stores the containers’ output.' },
  containerLogs: { says: 'Which containers: a name, names, or `true` for all. Default: the base container.' },
  initContainerLogs: { says: 'Which init containers. Default: none.' },
  loggingInterval: {
    says: 'Seconds between two times that the log is stored while the pod runs. Default: only at its end.',
  },
  containerNameLogPrefixEnabled: {
    says: 'Readers show `[container]` before each line of a log of several containers. Stored lines have no prefix.',
  },
  logFormatter: { says: 'Name of a registered function that makes the stored text of each line.' },
  logEventsOnStartup: {
    says: 'Stores the pod’s events as the log `pod.startup` when a start fails, or takes longer than 30 s or half its time-out: once while it lasts (with `loggingInterval`), and at its end.',
  },
  logEventsOnFailure: {
    says: 'Stores container states and the pod’s events of a failed attempt as the log `pod.events`.',
  },
  logPodSpecOnFailure: {
    says: 'Stores the pod of a failed attempt, environment values hidden, as the log `pod.spec`.',
  },
  doXcomPush: { says: 'The run has a result.' },
  xcomMode: {
    says: 'Source of the result: `message` (termination message, no sidecar), `sidecar` (the file), `auto` (either).',
    own: true,
  },
  xcomSidecarContainerSecurityContext: {
    says: 'Security context of the result sidecar. `{}` overrides the connection’s.',
    lands: 'spec.containers[-1].securityContext',
  },
  callbacks: { says: 'Names of registered callbacks, in the order of their calls.' },
  progressCallback: {
    says: 'Older form: registered callbacks of which only `progressCallback` is called. Use `callbacks`.',
  },
} as const satisfies Readonly<Record<keyof PodParams, ParamFacts>>;
