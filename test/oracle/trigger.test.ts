import { judge } from '../../src/core/pod/judge.ts';
import { isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { projectPod } from '../../src/core/pod/projection.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { aSubscription } from '../support/builders.ts';
import { camelCase, type Answer, compareWithOracle, type OracleCase } from './harness.ts';
import { BEGIN_MS, SimulatedClock, stubCluster, withUid } from './stub-cluster.ts';

const POD = withUid({ metadata: { name: 'pod', namespace: 'ns' } });
const ref = { connection: 'oracle', namespace: 'ns', name: 'pod', uid: 'uid-pod' };

/** The containers that a recorded pod without a spec must have had. */
function withSpec(pod: JsonRecord): JsonRecord {
  const names = (list: string) => recordsIn(recordIn(pod, 'status'), list).map(({ name }) => ({ name }));
  const spec = { containers: names('containerStatuses'), initContainers: names('initContainerStatuses') };
  return withUid({ spec, ...pod });
}

/** The recorded pods as a watch would deliver them, at the times at which Airflow read them. The last one stays. */
function watched(theCase: OracleCase): unknown {
  const params = recordIn(theCase.input, 'params');
  const seconds = (key: string, otherwise: number): number => (numberIn(params, key) ?? otherwise) * 1000;
  const scheduleMs = seconds('schedule_timeout', 120);
  const startMs = seconds('startup_timeout', 120);
  const deadline = numberIn(theCase.input, 'execution_deadline_in_seconds');
  const wait = {
    ...{ terminal: true, from: BEGIN_MS, scheduleBy: BEGIN_MS + scheduleMs, startBy: BEGIN_MS + scheduleMs + startMs },
    ...(deadline === undefined ? {} : { timeoutAt: BEGIN_MS + deadline * 1000 }),
  };
  const subscription = aSubscription({ pod: ref, await: wait });
  let now = BEGIN_MS;
  for (const { pod, times } of recordsIn(theCase.input, 'reads')) {
    // A failed read changes nothing: the watch continues with the last known pod.
    if (!isRecord(pod)) continue;
    const seen = projectPod('oracle', withSpec(pod));
    const starting = seen.phase === 'Pending' || seen.phase === 'Unknown';
    for (let n = 0; n < (typeof times === 'number' ? times : 1); n += 1) {
      const judgement = judge(
        subscription,
        { ...seen, baseContainer: textIn(params, 'base_container_name') ?? 'base' },
        now,
      );
      if (judgement.kind === 'fire') return judgement.event.kind;
      now += starting ? seconds('startup_check_interval', 5) : seconds('poll_interval', 2);
    }
  }
  const last = recordsIn(theCase.input, 'reads').findLast(({ pod }) => isRecord(pod))?.['pod'];
  if (!isRecord(last)) return 'waits';
  const judgement = judge(subscription, projectPod('oracle', withSpec(last)), now + 3_600_000);
  return judgement.kind === 'fire' ? judgement.event.kind : 'waits';
}

const FIELDS = [
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

async function answer(theCase: OracleCase): Promise<unknown> {
  const { input } = theCase;
  switch (input['function']) {
    case 'run':
      return watched(theCase);
    case 'serialize': {
      const given = recordIn(input, 'params');
      const of = (key: string): unknown => given[key];
      const params = {
        ...podParamsSchema.parse({
          image: 'i',
          baseContainerName: of('base_container_name'),
          pollInterval: of('poll_interval'),
          getLogs: of('get_logs'),
          startupTimeoutSeconds: of('startup_timeout'),
          startupCheckIntervalSeconds: of('startup_check_interval'),
          scheduleTimeoutSeconds: of('schedule_timeout'),
          onFinishAction: of('on_finish_action'),
          onKillAction: of('on_kill_action'),
          terminationGracePeriod: of('termination_grace_period'),
          loggingInterval: of('logging_interval'),
          logEventsOnStartup: of('log_events_on_startup'),
        }),
        callbacks: [],
        logFormatter: undefined,
        progressCallback: undefined,
      };
      const operator = new KubernetesPodOperator({
        ...params,
        hook: hookOf(stubCluster({})),
        clock: new SimulatedClock(),
      });
      operator.pod = POD;
      const deferred = await operator.invokeDeferMethod({});
      const trigger = deferred.kind === 'deferred' ? deferred.trigger : {};
      return Object.fromEntries(FIELDS.map((key) => [key, trigger[camelCase(key)] ?? null]));
    }
    default: {
      const deletes: unknown[] = [];
      const cluster = stubCluster({
        deletePod: ({ name, namespace }, grace) => {
          deletes.push({ grace_period_seconds: grace ?? null, name, namespace });
          return Promise.resolve('asked');
        },
      });
      const { onKillAction } = podParamsSchema.parse({ onKillAction: input['on_kill_action'] });
      const grace = numberIn(input, 'termination_grace_period');
      const more = grace === undefined ? {} : { terminationGracePeriod: grace };
      const operator = new KubernetesPodOperator({ image: 'i', hook: hookOf(cluster), onKillAction, ...more });
      operator.pod = POD;
      // A worker owns a run whose event has fired; a triggerer that stops has no effect on it.
      if (input['event_fired'] !== true && input['function'] === 'on_kill') await operator.onKill();
      return { deletes };
    }
  }
}

const readsFail = ({ input }: OracleCase): boolean => recordsIn(input, 'reads').some(({ pod }) => !isRecord(pod));
const phaseIn = (pod: unknown): string => textIn(recordIn(pod, 'status'), 'phase') ?? '';
/** What the last pod that was read means, whatever the calls around it came to. */
const byLastPod = (_: Answer, { input }: OracleCase): Answer => {
  const last = recordsIn(input, 'reads')
    .map(({ pod }) => pod)
    .findLast(isRecord);
  const outcomes: Readonly<Record<string, string>> = { Pending: 'timeout', Succeeded: 'success', Failed: 'failed' };
  return { output: outcomes[phaseIn(last)] ?? 'waits' };
};
const eventOf = (output: unknown): unknown => {
  const [event] = recordsIn(output, 'events');
  return textIn(event, 'status') ?? 'waits';
};

compareWithOracle('trigger', {
  answer,
  theirs: (output, { input }) => {
    if (input['function'] === 'run') return eventOf(output);
    if (input['function'] !== 'serialize' || !isRecord(output)) return output;
    const fields = recordIn(output, 'fields');
    return Object.fromEntries(FIELDS.map((key) => [key, fields[key] ?? null]));
  },
  rules: [
    {
      reason: 'a triggerer that stops deletes nothing: a cancel is a message, and a worker carries it out',
      when: ({ input }) => input['function'] === 'cleanup',
      instead: () => ({ output: { deletes: [] } }),
    },
    {
      reason: 'a failed call changes nothing: the watch continues with the last known pod',
      when: (theCase) => theCase.input['function'] === 'run' && readsFail(theCase),
      instead: byLastPod,
    },
    {
      reason: 'values that a caller adds to an event never replace its status',
      when: ({ input }) => 'trigger_kwargs' in recordIn(input, 'params'),
      instead: byLastPod,
    },
    {
      reason: 'an ended pod keeps its outcome, even when its deadline has passed by then',
      when: ({ input }) =>
        'execution_deadline_in_seconds' in input && numberIn(input, 'execution_deadline_in_seconds') !== undefined,
      instead: (theirs, { input }) => {
        const last = recordIn(recordsIn(input, 'reads').at(-1), 'pod');
        const phase = textIn(recordIn(last, 'status'), 'phase');
        return phase === 'Succeeded' ? { output: 'success' } : theirs;
      },
    },
    {
      reason: 'a pod that cannot start, or failed before any container started, is failed, with its reason',
      when: ({ theirs }) => 'output' in theirs && eventOf(theirs.output) === 'error',
      instead: () => ({ output: 'failed' }),
    },
    {
      reason:
        'a pod that cannot start has failed whenever that is seen: Airflow looks for it only until the pod has started once',
      when: ({ input }) => {
        const phases = recordsIn(input, 'reads').map(({ pod }) => phaseIn(pod));
        return phases.includes('Running') && phases.indexOf('Running') < phases.lastIndexOf('Pending');
      },
      instead: () => ({ output: 'failed' }),
    },
    {
      reason: 'an interval of 0 is refused: null means none',
      when: ({ input }) => recordIn(input, 'params')['logging_interval'] === 0 && input['function'] === 'serialize',
    },
    {
      reason: 'workers read logs: an error while reading is not an event of the pod',
      when: ({ input }) => 'logs' in input,
      instead: byLastPod,
    },
  ],
});
