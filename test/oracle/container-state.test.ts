import { z } from 'zod';
import {
  containerIsCompleted,
  containerIsRunning,
  containerIsSucceeded,
  containerIsTerminated,
  containerIsWait,
  containerNamesOf,
  type ContainerState,
  defineContainerState,
  definePodContainerState,
  detectPodTerminateEarlyIssues,
  getContainerStatus,
  getContainerTerminationMessage,
  initContainerNamesOf,
  PodPhases,
  reconcileRequestedLogContainers,
  shouldWait,
} from '../../src/airflow/containers.ts';
import { OnFinishAction, OnKillAction } from '../../src/core/pod/finish-action.ts';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { PodManager } from '../../src/airflow/pod-manager.ts';
import type { PodLoggingStatus } from '../../src/airflow/pod-logs.ts';
import type { KubernetesPodOperatorParams } from '../../src/airflow/kubernetes-pod-operator-params.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';
import { apiError, nameIn, SimulatedClock, stubCluster, withUid } from './stub-cluster.ts';

type Calls = unknown[][];
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const podIn = (input: JsonRecord, key = 'pod'): JsonRecord | undefined => {
  const pod = input[key];
  return isRecord(pod) ? pod : undefined;
};
const stateSchema = z.enum([
  'undefined',
  'waiting',
  'running',
  'terminated',
  'failed',
]) satisfies z.ZodType<ContainerState>;

/** An operator whose API calls are recorded. `pods`: the result of a search. */
function recorded(params: JsonRecord, pods: readonly JsonRecord[], calls: Calls, listing: boolean) {
  const known = new Map(pods.map((pod) => [nameIn(pod), withUid(pod)]));
  const cluster = stubCluster({
    listPods: (namespace) => {
      if (listing) calls.push(['list_pods', namespace]);
      return Promise.resolve([...known.values()].map((pod) => stubCluster({}).project(pod)));
    },
    getPod: (_, name) => Promise.resolve(known.get(name)),
    createPod: (_, pod) => {
      calls.push(['create_pod', nameIn(pod)]);
      return Promise.resolve({ kind: 'created', pod });
    },
    deletePod: ({ name, namespace }, grace) => {
      const request = { name, namespace, ...(grace === undefined ? {} : { grace_period_seconds: grace }) };
      calls.push('has_pod' in params ? ['delete_namespaced_pod', request] : ['delete_pod', name]);
      // The adapter returns `gone` for a missing pod, not an error.
      if (params['api_error'] === 404) return Promise.resolve('gone');
      return typeof params['api_error'] === 'number'
        ? Promise.reject(apiError(params['api_error']))
        : Promise.resolve('asked');
    },
    patchPod: ({ name }, patch) => {
      calls.push(['patch_pod', name, patch]);
      return Promise.resolve('patched');
    },
  });
  return new KubernetesPodOperator({ ...ownParams(params), hook: hookOf(cluster), clock: new SimulatedClock() });
}

function ownParams(input: JsonRecord): Partial<KubernetesPodOperatorParams> {
  const { onFinishAction, onKillAction } = podParamsSchema.parse({
    onFinishAction: input['on_finish_action'] ?? 'delete_pod',
    onKillAction: input['on_kill_action'] ?? 'delete_pod',
  });
  const grace = input['termination_grace_period'];
  return {
    onFinishAction,
    onKillAction,
    image: 'i',
    durable: input['durable'] !== false,
    ...(typeof grace === 'number' ? { terminationGracePeriod: grace } : {}),
    ...(typeof input['base_container_name'] === 'string' ? { baseContainerName: input['base_container_name'] } : {}),
  };
}

/** A manager that records what it should wait for, without waiting. */
class Planning extends PodManager {
  readonly calls: Calls = [];
  override fetchRequestedContainerLogs(
    _: JsonRecord,
    containers: unknown,
    options: { readonly follow?: boolean } = {},
  ): Promise<readonly PodLoggingStatus[]> {
    this.calls.push(['fetch_requested_container_logs', containers, options.follow === true]);
    return Promise.resolve([]);
  }
  override awaitContainerCompletion(_: JsonRecord, name: string, seconds?: number): Promise<void> {
    this.calls.push(['await_container_completion', name, seconds]);
    return Promise.resolve();
  }
}

async function answer({ input }: OracleCase): Promise<unknown> {
  const pod = podIn(input);
  const base = textOf(input['base_container_name']);
  const calls: Calls = [];
  switch (input['function']) {
    case 'OnFinishAction':
      return z.enum(Object.values(OnFinishAction)).parse(input['value']);
    case 'OnKillAction':
      return z.enum(Object.values(OnKillAction)).parse(input['value']);
    case 'fetch_requested_container_logs':
      return reconcileRequestedLogContainers(input['containers'], containerNamesOf(pod)).map((name) => [name, true]);
    case 'fetch_requested_init_container_logs': {
      const wanted = reconcileRequestedLogContainers(input['init_containers'], initContainerNamesOf(pod));
      return initContainerNamesOf(pod)
        .filter((name) => wanted.includes(name))
        .map((name) => [name, true]);
    }
    case 'define_container_state':
      return { container: defineContainerState(pod, base) };
    case 'define_pod_container_state':
      return { pod: definePodContainerState(pod, base) };
    case 'process_pod_deletion': {
      const deleted = await recorded(input, [], calls, false).processPodDeletion(
        pod === undefined ? undefined : withUid(pod),
        {
          reraise: input['reraise'] !== false,
        },
      );
      return pod === undefined ? deleted : 'api_error' in input ? { deleted } : { calls, deleted };
    }
    case 'detect_pod_terminate_early_issues':
      return { issue: detectPodTerminateEarlyIssues(pod) ?? null };
    case 'find_pod': {
      const pods = recordsIn(input, 'pods');
      const found = await recorded(input, pods, calls, false).findPod('ns', {}, {});
      return { calls, pod: found === undefined ? null : nameIn(found) };
    }
    case 'get_or_create_pod': {
      const found = podIn(input, 'found');
      const request = { metadata: { name: 'request', namespace: 'ns' } };
      const got = await recorded(input, found === undefined ? [] : [found], calls, true).getOrCreatePod(request, {});
      return { calls, pod: nameIn(got) };
    }
    case 'helpers': {
      const name = textOf(input['container_name']);
      return {
        container_is_completed: containerIsCompleted(pod, name),
        container_is_running: containerIsRunning(pod, name),
        container_is_succeeded: containerIsSucceeded(pod, name),
        container_is_terminated: containerIsTerminated(pod, name),
        container_is_wait: containerIsWait(pod, name),
        get_container_status: getContainerStatus(pod, name) ?? null,
        get_container_termination_message: getContainerTerminationMessage(pod, name) ?? null,
      };
    }
    case 'on_kill': {
      const operator = recorded(input, [], calls, false);
      if (input['has_pod'] === true) operator.pod = withUid({ metadata: { name: 'pod', namespace: 'ns' } });
      await operator.onKill();
      return { calls, killed: true };
    }
    case '_reconcile_requested_log_containers': {
      const { actual } = input;
      return reconcileRequestedLogContainers(input['requested'], Array.isArray(actual) ? actual.map(String) : []);
    }
    case 'should_wait':
      return shouldWait(textOf(input['phase']), stateSchema.parse(input['container_state']));
    case 'PodPhase.terminal_states':
      return PodPhases.terminalStates.has(textOf(input['phase']));
    case 'check_exception_is_kubernetes_api_unauthorized':
      return typeof input['status'] === 'number' && apiError(input['status']).fault === 'unauthorized';
    case 'operator.await_pod_completion': {
      const manager = new Planning(stubCluster({}));
      class Planned extends KubernetesPodOperator {
        override get podManager(): PodManager {
          return manager;
        }
      }
      const logs = input['container_logs'];
      const { containerLogs } = podParamsSchema.parse({ containerLogs: logs ?? null });
      const more = { baseContainerName: base, getLogs: input['get_logs'] === true, containerLogs };
      const operator = new Planned({ hook: hookOf(stubCluster({})), image: 'i', ...more });
      await operator.awaitPodCompletion({ metadata: { name: 'pod', namespace: 'ns' } });
      return manager.calls;
    }
    default:
      throw new Error(`no adapter for ${String(input['function'])}`);
  }
}

const reasonOf = ({ input }: OracleCase): string =>
  recordsIn(recordIn(podIn(input), 'status'), 'containerStatuses')
    .map((status) => textIn(recordIn(recordIn(status, 'state'), 'waiting'), 'message') ?? '')
    .join(' ')
    .toLowerCase();

/** Airflow prints the times of typed objects. */
const sameTimes = (output: unknown): unknown =>
  output === undefined ? undefined : JSON.parse(JSON.stringify(output).replaceAll('+00:00"', 'Z"'));

compareWithOracle('container-state', {
  answer,
  // Where Airflow stores a pod's identity beside the task, the run's state has it here: `test/operator/re-attach.test.ts`.
  only: ({ input }) => !('stored' in input || 'stored_pod' in input),
  theirs: sameTimes,
  rules: [
    {
      reason:
        'an unreachable registry or an unresolved name may be transient, and a bare back-off has no reason: the start time-out decides',
      when: (theCase) =>
        theCase.input['function'] === 'detect_pod_terminate_early_issues' &&
        /deadline exceeded|no such host|timed out|toomanyrequests|failed to sync|connection refused|back-off pulling image "[^"]*"$/.test(
          reasonOf(theCase),
        ),
      instead: () => ({ output: { issue: null } }),
    },
    {
      reason: 'containers are named by a string or a list of strings; a map is neither',
      when: ({ input }) => input['function'] === '_reconcile_requested_log_containers' && isRecord(input['requested']),
      instead: () => ({ output: [] }),
    },
    {
      reason: 'of several pods of one task all but the newest are labelled or deleted, not only the first',
      when: ({ input }) => input['function'] === 'find_pod' && recordsIn(input, 'pods').length > 2,
      instead: (theirs) => {
        if (!('output' in theirs) || !isRecord(theirs.output)) return theirs;
        const marked = ['p2', 'p0'].map((name) => [
          'patch_pod',
          name,
          { metadata: { labels: { already_checked: 'True' } } },
        ]);
        return { output: { ...theirs.output, calls: marked } };
      },
    },
    {
      reason: 'where Airflow’s helper crashes, ours returns that there is no such state',
      when: ({ input, theirs }) =>
        input['function'] === 'helpers' && 'output' in theirs && JSON.stringify(theirs.output).includes('"error"'),
      instead: (theirs) => ({
        output: Object.fromEntries(
          Object.entries('output' in theirs && isRecord(theirs.output) ? theirs.output : {}).map(([key, value]) => [
            key,
            isRecord(value) && 'error' in value ? (key.startsWith('container_is') ? false : null) : value,
          ]),
        ),
      }),
    },
  ],
});
