import { isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import type { PodCallbacks } from '../../src/operator/callbacks.ts';
import { PodNotFoundException, TaskSkipped } from '../../src/airflow/exceptions.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import type { PodLoggingStatus } from '../../src/airflow/pod-logs.ts';
import { PodManager, type StartLimits } from '../../src/airflow/pod-manager.ts';
import { podEventSchema } from '../../src/airflow/kubernetes-pod-operator-params.ts';
import { camelCase, camelKeys, compareWithOracle, type OracleCase } from './harness.ts';
import { failureOf, nameIn, SimulatedClock, stubCluster, withUid } from './stub-cluster.ts';

const NOON_MS = Date.parse('2024-01-02T12:00:00Z');
const REQUEST = { metadata: { name: 'request', namespace: 'ns' }, spec: { containers: [{ name: 'base' }] } };

/** A recorded response: a pod, no pod, or an error. */
function podOr(answer: unknown): JsonRecord {
  if (isRecord(answer)) return withUid(answer);
  if (answer === null || answer === undefined || Number(answer) === 404) throw new PodNotFoundException('gone');
  throw failureOf(answer);
}

/** A manager that only records its calls. */
class Recorder extends PodManager {
  readonly calls: unknown[][] = [];
  readonly #world: JsonRecord;
  readonly #clock: SimulatedClock;

  constructor(world: JsonRecord, calls: unknown[][], clock: SimulatedClock) {
    super(stubCluster({}), { clock });
    this.#world = world;
    this.#clock = clock;
    this.calls = calls;
  }
  #failAs(key: string): void {
    if (key in this.#world) throw failureOf(this.#world[key]);
  }
  override createPod(pod: JsonRecord): Promise<JsonRecord> {
    // The name of the recorded request, unless the case is about names.
    const name = /^my-name-1(?=-)/.exec(nameIn(pod))?.[0] ?? 'request';
    this.calls.push(['create_pod', name]);
    return Promise.resolve().then(
      () => (this.#failAs('create'), withUid({ ...REQUEST, metadata: { name, namespace: 'ns' }, spec: pod['spec'] })),
    );
  }
  override deletePod(pod: JsonRecord): Promise<void> {
    this.calls.push(['delete_pod', nameIn(pod)]);
    return Promise.resolve().then(() => {
      this.#failAs('delete');
    });
  }
  override readPod(): Promise<JsonRecord> {
    return Promise.resolve().then(() =>
      podOr(
        'read_pod' in this.#world ? this.#world['read_pod'] : (this.#world['get_pod'] ?? this.#world['remote_pod']),
      ),
    );
  }
  override awaitPodStart(_: JsonRecord, limits: StartLimits = {}): Promise<void> {
    const { checkInterval, scheduleTimeout, startupTimeout } = limits;
    this.calls.push(['await_pod_start', checkInterval, scheduleTimeout, startupTimeout]);
    return Promise.resolve().then(() => {
      this.#failAs('start');
    });
  }
  override watchPodEvents(): Promise<void> {
    return Promise.resolve();
  }
  override fetchRequestedContainerLogs(_: JsonRecord, containers: unknown): Promise<readonly PodLoggingStatus[]> {
    this.calls.push(['fetch_requested_container_logs', containers]);
    return Promise.resolve().then(() => (this.#failAs('follow'), []));
  }
  override fetchRequestedInitContainerLogs(_: JsonRecord, containers: unknown): Promise<readonly PodLoggingStatus[]> {
    this.calls.push(['fetch_requested_init_container_logs', containers]);
    return Promise.resolve([]);
  }
  override async *readPodLogs(
    _: JsonRecord,
    container: string,
    { sinceSeconds }: { readonly sinceSeconds?: number } = {},
  ): AsyncGenerator<string, void, undefined> {
    this.calls.push(['log', container, sinceSeconds ?? null]);
    await Promise.resolve();
    this.#failAs('log');
    yield* [];
  }
  override awaitContainerCompletion(): Promise<void> {
    return Promise.resolve();
  }
  override awaitXcomSidecarContainerStart(): Promise<void> {
    this.calls.push(['await_xcom_sidecar_container_start']);
    return Promise.resolve().then(() => {
      this.#failAs('sidecar');
    });
  }
  override extractXcom(): Promise<string> {
    this.calls.push(['extract_xcom']);
    const { xcom = '{"a": 1}' } = this.#world;
    if (typeof xcom !== 'string' || /Error$/.test(xcom)) return Promise.reject(failureOf(xcom));
    return Promise.resolve(xcom);
  }
  override awaitPodCompletion(
    _: JsonRecord,
    { istioEnabled = false, containerName = 'base', doXcomPush = false } = {},
  ): Promise<JsonRecord> {
    this.calls.push(['await_pod_completion', containerName, doXcomPush, istioEnabled]);
    return Promise.resolve().then(() => podOr(this.#world['final_pod']));
  }
}

const NOT_PARAMETERS = new Set(['multiple_outputs', 'callbacks', 'execution_timeout', 'cluster_context', 'in_cluster']);
const HOOKS = [
  'onPodManifestCreated',
  'onPodCreation',
  'onPodStarting',
  'onPodCompletion',
  'onPodTeardown',
  'onPodCleanup',
] as const;

function ours({ input }: OracleCase) {
  const calls: unknown[][] = [];
  const world: JsonRecord = { ...recordIn(input, 'world'), remote_pod: input['remote_pod'] };
  const clock = new SimulatedClock(NOON_MS);
  const manager = new Recorder(world, calls, clock);
  const searches = Array.isArray(world['found']) ? [...world['found']] : [];
  let search = 0;
  let found: readonly JsonRecord[] = [];
  const cluster = stubCluster({
    listPods: () => {
      calls.push(['list_pods']);
      found = recordsIn({ pods: searches[Math.min(search++, searches.length - 1)] ?? [] }, 'pods').map((pod) =>
        withUid({ ...pod, metadata: { ...recordIn(pod, 'metadata'), name: 'found' } }),
      );
      return Promise.resolve(found.map((pod) => stubCluster({}).project(pod)));
    },
    // At re-entry the pod is read by its name; a search reads the pods it found.
    getPod: (_, name) => Promise.resolve(found.find((pod) => nameIn(pod) === name) ?? seen(world['get_pod'])),
    patchPod: ({ name }) => {
      calls.push(['patch', name]);
      return 'patch' in world ? Promise.reject(failureOf(world['patch'])) : Promise.resolve('patched');
    },
  });
  const seen = (answer: unknown): JsonRecord | undefined => {
    if (isRecord(answer)) return withUid(answer);
    if (answer === null || answer === undefined || Number(answer) === 404) return undefined;
    throw failureOf(answer);
  };
  class Recorded extends KubernetesPodOperator {
    override get podManager(): PodManager {
      return manager;
    }
  }
  const given = recordIn(input, 'params');
  const params = camelKeys(Object.fromEntries(Object.entries(given).filter(([key]) => !NOT_PARAMETERS.has(key))));
  const parsed = {
    ...podParamsSchema.parse({ image: 'i', deferrable: false, ...params }),
    callbacks: [],
    logFormatter: undefined,
    progressCallback: undefined,
  };
  const recordCall = (hook: string, pod: unknown) => calls.push(['callback', hook, isRecord(pod) ? nameIn(pod) : null]);
  const recording: PodCallbacks = Object.fromEntries(
    HOOKS.map((hook) => [
      hook,
      (args: JsonRecord) => void recordCall(hook, hook === 'onPodManifestCreated' ? REQUEST : args['pod']),
    ]),
  );
  const callbacks = given['callbacks'] === true ? [recording] : [];
  const seconds = numberIn(given, 'execution_timeout');
  const timeout = seconds === undefined ? {} : { executionTimeoutSeconds: seconds };
  const operator = new Recorded({ ...parsed, ...timeout, hook: hookOf(cluster), clock, callbacks });
  return { operator, calls, world };
}

async function answer(theCase: OracleCase): Promise<unknown> {
  const { input } = theCase;
  const pushed: unknown[] = [];
  // The recorded tasks began half a minute before noon.
  const context = {
    startDate: new Date(NOON_MS - 30_000),
    xcomPush: (key: string, value: unknown) => void pushed.push([key, value]),
  };
  const { operator, calls } = ours(theCase);
  const run = async (): Promise<JsonRecord> => {
    switch (input['function']) {
      case 'cleanup': {
        if (input['killed'] === true) await operator.onKill();
        const remote = input['remote_pod'];
        const pod = isRecord(remote) ? withUid(remote) : undefined;
        await operator.cleanup(pod ?? REQUEST, pod, { context, xcomResult: input['xcom_result'] });
        return { result: 'returned', value: null };
      }
      case 'execute': {
        const done = await operator.execute(context);
        return done.kind === 'deferred'
          ? { result: 'deferred', trigger: done.trigger }
          : { result: 'returned', value: done.result ?? null };
      }
      default: {
        const event = Object.fromEntries(
          Object.entries(recordIn(input, 'event')).map(([key, value]) => [camelCase(key), value ?? undefined]),
        );
        const done = await operator.triggerReentry(context, podEventSchema.parse(event));
        return done.kind === 'deferred'
          ? { result: 'deferred', trigger: done.trigger }
          : { result: 'returned', value: done.result ?? null };
      }
    }
  };
  try {
    return { ...(await run()), calls, xcom_pushed: pushed };
  } catch (error) {
    return {
      result: error instanceof TaskSkipped ? 'skipped' : 'failed',
      calls,
      xcom_pushed: pushed,
      ...(error instanceof TypeError ? { crash: error.stack } : {}),
    };
  }
}

/** Airflow's calls under the names above. Additional reads of the pod (for Istio, for its state) are not compared. */
function callOf(call: readonly unknown[]): readonly unknown[] | undefined {
  const [name, first, second] = call;
  const facts = isRecord(first) ? first : {};
  switch (String(name).split('.').at(-1) ?? '') {
    case 'read_pod':
    case 'get_pod':
      return undefined;
    case 'list_namespaced_pod':
      return ['list_pods'];
    case 'patch_namespaced_pod':
      return ['patch', first];
    case 'read_namespaced_pod_log': {
      const of = isRecord(first) ? first : recordIn({ second }, 'second');
      return ['log', of['container'], of['since_seconds'] ?? null];
    }
    case 'callback':
      return ['callback', camelCase(String(first)), second ?? null];
    case 'await_pod_start':
      return ['await_pod_start', facts['check_interval'], facts['schedule_timeout'], facts['startup_timeout']];
    case 'await_pod_completion':
      return ['await_pod_completion', facts['container_name'], facts['do_xcom_push'], facts['istio_enabled']];
    case 'extract_xcom':
      return ['extract_xcom'];
    case 'await_xcom_sidecar_container_start':
      return ['await_xcom_sidecar_container_start'];
    case 'fetch_requested_container_logs':
    case 'fetch_requested_init_container_logs':
      return [String(name).split('.').at(-1), first];
    default:
      return [String(name).split('.').at(-1), first];
  }
}

const TRIGGER_FIELDS = [
  'pod_name',
  'pod_namespace',
  'base_container_name',
  'poll_interval',
  'get_logs',
  'startup_timeout',
  'startup_check_interval',
  'schedule_timeout',
  'on_finish_action',
  'on_kill_action',
  'termination_grace_period',
  'logging_interval',
];
function triggerOf(trigger: unknown): JsonRecord {
  const fields = recordIn({ trigger }, 'trigger');
  const kwargs = recordIn(fields, 'trigger_kwargs');
  const counted = numberIn(kwargs, '_redefer_count') ?? 0;
  // The user's values; Airflow stores its own counters beside them, under a leading underscore.
  const triggerKwargs = Object.fromEntries(Object.entries(kwargs).filter(([key]) => !key.startsWith('_')));
  return {
    triggerKwargs,
    executionDeadline: kwargs['_execution_deadline'] ?? null,
    ...Object.fromEntries(TRIGGER_FIELDS.map((key) => [camelCase(key), fields[key] ?? null])),
    redeferCount: counted,
  };
}

/** The trigger of a task without parameters. */
const DEFAULT_TRIGGER = {
  ...{ podName: 'pod', podNamespace: 'ns', baseContainerName: 'base', pollInterval: 2, getLogs: true },
  ...{ startupTimeout: 120, startupCheckInterval: 5, scheduleTimeout: 120, onFinishAction: 'delete_pod' },
  ...{ onKillAction: 'delete_pod', terminationGracePeriod: null, loggingInterval: null, redeferCount: 0 },
  ...{ triggerKwargs: {}, executionDeadline: null },
};

/** Whether a recorded pod, or its base container, has ended. */
function hasEnded(pod: JsonRecord): boolean {
  const status = recordIn(pod, 'status');
  const base = recordsIn(status, 'containerStatuses').find(({ name }) => name === 'base');
  return ['Succeeded', 'Failed'].includes(String(status['phase'])) || 'terminated' in recordIn(base, 'state');
}

const isMap = (text: unknown): boolean => text === undefined || (typeof text === 'string' && text.startsWith('{'));
const statusIn = (input: JsonRecord): string => textIn(recordIn(input, 'event'), 'status') ?? '';
const status = ({ input }: OracleCase): string => statusIn(input);
const instead =
  (change: (output: JsonRecord, theCase: OracleCase) => JsonRecord) =>
  (theirs: OracleCase['theirs'], theCase: OracleCase) =>
    'output' in theirs && isRecord(theirs.output) ? { output: change(theirs.output, theCase) } : theirs;
const listIn = (output: JsonRecord, key: string): readonly unknown[] => {
  const list = output[key];
  return Array.isArray(list) ? list : [];
};

compareWithOracle('reentry', {
  answer,
  theirs: (output) => {
    if (!isRecord(output)) return output;
    const calls = listIn(output, 'calls')
      .flatMap((call) => (Array.isArray(call) ? [callOf(call)] : []))
      .filter((call) => call !== undefined);
    const { result, value, trigger, xcom_pushed: pushed } = output;
    return {
      result,
      calls,
      xcom_pushed: pushed,
      ...(result === 'returned' ? { value } : {}),
      ...(result === 'deferred' ? { trigger: triggerOf(trigger) } : {}),
    };
  },
  ours: (output) => {
    if (!isRecord(output) || !isRecord(output['trigger'])) return output;
    const { trigger } = output;
    const fields = [...TRIGGER_FIELDS.map(camelCase), 'redeferCount', 'triggerKwargs', 'executionDeadline'];
    return { ...output, trigger: Object.fromEntries(fields.map((key) => [key, trigger[key] ?? null])) };
  },
  rules: [
    {
      reason: 'a result is stored as a whole; Airflow’s platform splits it into several',
      when: ({ input }) =>
        recordIn(input, 'params')['multiple_outputs'] === true && isMap(recordIn(input, 'world')['xcom']),
      instead: instead((output) => ({
        ...output,
        xcom_pushed: listIn(output, 'xcom_pushed').filter(
          (push) => Array.isArray(push) && ['pod_name', 'pod_namespace', 'return_value'].includes(String(push[0])),
        ),
      })),
    },
    {
      reason: 'Airflow’s platform refuses to split what is not a map; here nothing is split',
      when: ({ input }) =>
        recordIn(input, 'params')['multiple_outputs'] === true && !isMap(recordIn(input, 'world')['xcom']),
    },
    {
      reason: 'a failing deferred task pushes its result once',
      when: (theCase) => ['failed', 'error', 'timeout', ''].includes(status(theCase)),
      instead: instead((output) => ({
        ...output,
        xcom_pushed: [...new Map(listIn(output, 'xcom_pushed').map((push) => [JSON.stringify(push), push])).values()],
      })),
    },
    {
      reason:
        'a pod in phase Succeeded has succeeded: with a result, Airflow also wants a base container that succeeded, which this pod does not have',
      when: ({ input }) => {
        const { base_container_name: base, do_xcom_push: hasResult } = recordIn(input, 'params');
        const status = recordIn(recordIn(recordIn(input, 'world'), 'final_pod'), 'status');
        const isKnown = recordsIn(status, 'containerStatuses').some(({ name }) => name === (base ?? 'base'));
        return hasResult === true && status['phase'] === 'Succeeded' && !isKnown;
      },
      instead: instead(({ xcom_pushed: pushed, ...output }) => {
        const result = Array.isArray(pushed)
          ? pushed.find((push) => Array.isArray(push) && push[0] === 'return_value')
          : [];
        return { ...output, result: 'returned', value: Array.isArray(result) ? result[1] : null, xcom_pushed: [] };
      }),
    },
    {
      reason: 'a log that cannot be read fails no task, whatever the error is',
      when: ({ input, theirs }) => 'log' in recordIn(input, 'world') && status({ id: '', input, theirs }) === 'success',
      instead: instead((output) => ({ ...output, result: 'returned', value: null })),
    },
    {
      reason:
        'a `running` event reads the log and defers again, as in earlier releases; the recorded release has dropped it',
      when: (theCase) => status(theCase) === 'running',
      instead: instead((output, { input }) => {
        const given = recordIn(input, 'params');
        if (!hasEnded(recordIn(recordIn(input, 'world'), 'get_pod')))
          return { result: 'deferred', calls: [['log', 'base', null]], xcom_pushed: [], trigger: DEFAULT_TRIGGER };
        // The deferral meets the ended pod, and goes on as after its end: with what was written since, and with its result.
        const hasResult = given['do_xcom_push'] === true;
        const calls = [
          ...[0, 1].map(() => ['log', 'base', null]),
          ...(hasResult ? [['extract_xcom']] : []),
          ...listIn(output, 'calls'),
        ];
        if (!hasResult) return { ...output, calls };
        return output['result'] === 'returned'
          ? { ...output, calls, value: { a: 1 } }
          : { ...output, calls, xcom_pushed: [['return_value', { a: 1 }]] };
      }),
    },
    {
      reason: 'a success whose result can no longer be read is a failure; without a result to read it is a success',
      when: ({ input }) => {
        const { get_pod: pod } = recordIn(input, 'world');
        return pod === null || Number(pod) === 404;
      },
    },
    {
      reason: 'a running pod is alive, even when container statuses are missing',
      when: ({ input }) =>
        statusIn(input) === 'error' &&
        textIn(recordIn(recordIn(recordIn(input, 'world'), 'get_pod'), 'status'), 'phase') === 'Running',
    },
    {
      reason: 'an interval of 0 is refused: null means none',
      when: ({ input }) => recordIn(input, 'params')['logging_interval'] === 0,
    },
  ],
});
