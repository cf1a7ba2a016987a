/** What each parameter of the `pod` operator means and where it lands: the README's table and the parity tests read it. Types and defaults stand in the schema. */
import type { PodParams } from '../../src/operator/pod-params.ts';

/** One parameter. */
export interface ParamFacts {
  readonly says: string;
  /** Field of the pod, in Kubernetes' JSON; `C0` is the base container. Absent: it is about behaviour. */
  readonly lands?: string;
  /** Not one of the seed's. */
  readonly own?: true;
  /** Checked and otherwise unused by a worker's run; the library's `KubernetesPodOperator` goes by it. */
  readonly inert?: true;
}

/** Every parameter, in the order of the README's table. */
export const PARAM_FACTS = {
  // identity, image, process
  image: { says: 'Image of the base container; needed here, in the full pod or in the template.', lands: 'C0.image' },
  name: { says: 'Name of the pod before its suffix; else the template’s, else the task’s id.', lands: 'metadata.name' },
  randomNameSuffix: {
    says: 'Add a suffix of the attempt’s own, so that no two pods meet; `false` uses the name as it is.',
    lands: 'metadata.name',
  },
  namespace: {
    says: 'Namespace; else the full pod’s, the template’s, the connection’s, `default`.',
    lands: 'metadata.namespace',
  },
  cmds: { says: 'Entry point; empty keeps the template’s or the image’s.', lands: 'C0.command' },
  arguments: { says: 'Arguments of the entry point.', lands: 'C0.args' },
  ports: { says: 'Container ports, after the template’s.', lands: 'C0.ports' },
  envVars: {
    says: 'Variables: a map, a list of `{name, value or valueFrom}`, or a template that gives one of them.',
    lands: 'C0.env',
  },
  envFrom: { says: 'Sources of variables.', lands: 'C0.envFrom' },
  configmaps: { says: 'Names of ConfigMaps whose entries become variables, after `envFrom`.', lands: 'C0.envFrom' },
  podRuntimeInfoEnvs: { says: 'Variables that tell the container about its pod, after `envVars`.', lands: 'C0.env' },
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
    says: 'Where the container’s last words are taken from.',
    lands: 'C0.terminationMessagePolicy',
  },
  containerSecurityContext: { says: 'Security context of the base container.', lands: 'C0.securityContext' },
  volumeMounts: { says: 'Mounts of the base container, after the template’s.', lands: 'C0.volumeMounts' },
  // pod
  labels: { says: 'Labels, over the template’s; null is the empty text. Ours win.', lands: 'metadata.labels' },
  annotations: { says: 'Annotations, over the template’s.', lands: 'metadata.annotations' },
  affinity: { says: 'Where the pod may be scheduled; replaces the template’s.', lands: 'spec.affinity' },
  nodeSelector: { says: 'Labels that the node must have.', lands: 'spec.nodeSelector' },
  tolerations: { says: 'Taints that the pod tolerates; replaces the template’s.', lands: 'spec.tolerations' },
  volumes: { says: 'Volumes, after the template’s.', lands: 'spec.volumes' },
  initContainers: {
    says: 'Init containers; those named as one of the template’s are merged with it.',
    lands: 'spec.initContainers',
  },
  serviceAccountName: { says: 'Service account of the pod.', lands: 'spec.serviceAccountName' },
  automountServiceAccountToken: {
    says: 'Whether the account’s token is mounted; `false` does not defeat a template’s `true`.',
    lands: 'spec.automountServiceAccountToken',
  },
  hostnetwork: {
    says: 'The node’s network; refused unless the tenant’s policy allows it. `false` does not defeat a template’s `true`.',
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
    says: 'Kubernetes ends the pod after this time; 0 is none. The run’s execution time-out is mirrored here.',
    lands: 'spec.activeDeadlineSeconds',
  },
  terminationGracePeriod: {
    says: 'Seconds that a pod has to end when it is deleted.',
    lands: 'spec.terminationGracePeriodSeconds',
  },
  fullPodSpec: { says: 'A whole pod; parameters win over it, it wins over the template.', lands: 'the whole pod' },
  podTemplateFile: { says: 'Name of a template in the worker’s template folder.', lands: 'the whole pod' },
  podTemplateDict: { says: 'The template itself; not read where a template file is named.', lands: 'the whole pod' },
  // cluster
  kubernetesConnId: { says: 'Named connection of the worker; `kubernetes_default` is its first one.' },
  inCluster: { says: 'Refused in a request: a connection says how its cluster is reached.' },
  clusterContext: { says: 'Refused in a request, as `inCluster`.' },
  configFile: { says: 'Refused in a request, as `inCluster`.' },
  // start and end
  deferrable: { says: 'Let go of the pod while it runs; `false` keeps a worker’s slot for the same outcome.' },
  reattachOnRestart: { says: 'Look for a live pod of this run before another is made.' },
  durable: { says: 'The newer name of `reattachOnRestart`; both must be true.' },
  startupTimeoutSeconds: { says: 'Time from scheduling to running.' },
  scheduleTimeoutSeconds: { says: 'Time to be scheduled; else the startup time-out is for both.' },
  startupCheckIntervalSeconds: {
    says: 'Accepted, so that requests need not change; no effect: pods are watched, not polled. In the library, seconds between two looks at a start.',
    inert: true,
  },
  pollInterval: { says: 'Accepted, no effect, as above. In the library, copied into the trigger.', inert: true },
  baseContainerStatusPollingInterval: {
    says: 'Accepted, no effect, as above. In the library, seconds between two looks at the base container.',
    inert: true,
  },
  onFinishAction: {
    says: 'What becomes of the pod: `delete_pod`, `delete_succeeded_pod`, `delete_active_pod`, `keep_pod`.',
  },
  isDeleteOperatorPod: { says: 'Older: without `onFinishAction`, `false` keeps the pod.' },
  onKillAction: { says: 'What becomes of the pod when the run is cancelled: `delete_pod` or `keep_pod`.' },
  skipOnExitCode: { says: 'Exit codes that make the run `skipped`; 0 may be one.' },
  triggerKwargs: {
    says: 'Values that the event of `onOperatorResuming` carries along; they never replace an event’s own.',
  },
  // logs and results
  getLogs: { says: 'Store the containers’ output.' },
  containerLogs: { says: 'Whose: a name, names, or `true` for all; else the base container.' },
  initContainerLogs: { says: 'The same of init containers; else none.' },
  loggingInterval: { says: 'Seconds after which a waiting run reads its log; else at the end.' },
  containerNameLogPrefixEnabled: {
    says: 'Show `[container]` before each line (`logs`, `submit --logs`) where the log is of several containers; what is stored has no prefix.',
  },
  logFormatter: { says: 'Name of a registered function that makes the forwarded line instead.' },
  logEventsOnStartup: {
    says: 'Keep what Kubernetes said of a start that failed, or took longer than 30 s or half its time-out, as the log `pod.startup`: once while it goes on (with `loggingInterval`) and when it is over.',
  },
  logEventsOnFailure: { says: 'Write container states and the pod’s events to the log of a failure.' },
  logPodSpecOnFailure: { says: 'Write the pod, environment values hidden, to the log of a failure.' },
  doXcomPush: { says: 'The run has a result.' },
  xcomMode: {
    says: 'Where the result is read: `message` (termination message, no sidecar), `sidecar` (the file), `auto` (either).',
    own: true,
  },
  xcomSidecarContainerSecurityContext: {
    says: 'Security context of the sidecar; `{}` overrides the connection’s.',
    lands: 'spec.containers[-1].securityContext',
  },
  callbacks: { says: 'Names of registered callbacks, called in this order.' },
  progressCallback: {
    says: 'Older: the registered callbacks whose `progressCallback` alone is called; use `callbacks`.',
  },
} as const satisfies Readonly<Record<keyof PodParams, ParamFacts>>;
