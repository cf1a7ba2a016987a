import { API_RETRY_POLICY, genericApiRetry } from '../../src/airflow/api-retry.ts';
import { isRecord, numberIn, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { KubernetesError } from '../../src/errors.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { PodManager } from '../../src/airflow/pod-manager.ts';
import type { PodLoggingStatus } from '../../src/airflow/pod-logs.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';
import { apiError, failureOf, SimulatedClock, stubCluster, withUid } from './stub-cluster.ts';

const POD = withUid({ metadata: { name: 'pod', namespace: 'ns' } });

/** The outcomes of a call: the recorded ones in order, then the last one repeatedly. */
function outcomes({ input }: OracleCase) {
  const list = recordsIn(input, 'outcomes');
  const state = { calls: 0 };
  const next = (): Promise<unknown> => {
    const outcome = list[Math.min(state.calls, list.length - 1)] ?? {};
    state.calls += 1;
    return 'exception' in outcome ? Promise.reject(errorOf(outcome)) : Promise.resolve(outcome['return']);
  };
  return { state, next };
}

function errorOf(outcome: JsonRecord): Error {
  const name = String(outcome['exception']);
  if (!/^(Async)?ApiException$/.test(name)) return failureOf(name);
  const retryAfter =
    textIn(recordIn(outcome, 'headers'), 'Retry-After') ?? textIn(recordIn(outcome, 'headers'), 'retry-after');
  return apiError(numberIn(outcome, 'status') ?? 0, retryAfter);
}

async function answer(theCase: OracleCase): Promise<unknown> {
  const { input } = theCase;
  const clock = new SimulatedClock();
  const { state, next } = outcomes(theCase);
  const config = recordIn(input, 'config');
  const policy = {
    attempts: numberIn(config, 'api_retries') ?? API_RETRY_POLICY.attempts,
    minSeconds: numberIn(config, 'api_retry_wait_min') ?? API_RETRY_POLICY.minSeconds,
    maxSeconds: numberIn(config, 'api_retry_wait_max') ?? API_RETRY_POLICY.maxSeconds,
  };
  const cluster = stubCluster({
    getPod: async () => (await next(), POD),
    createPod: async (_, pod) => (await next(), { kind: 'created', pod }),
    deletePod: async () => {
      try {
        await next();
        return 'asked';
      } catch (error) {
        if (error instanceof KubernetesError && error.status === 404) return 'gone';
        throw error;
      }
    },
    podEvents: async () => (await next(), []),
  });
  const manager = new PodManager(cluster, { clock });
  const events: string[] = [];
  let value: unknown;
  const run = async (): Promise<void> => {
    switch (input['function']) {
      case 'generic_api_retry':
        value = await genericApiRetry(next, { clock, policy });
        return;
      case 'PodManager.create_pod':
        await manager.createPod(POD);
        return;
      case 'PodManager.delete_pod':
        await manager.deletePod(POD);
        return;
      case 'PodManager.read_pod':
      case 'KubernetesPodTrigger._get_pod':
        await manager.readPod(POD);
        return;
      case 'PodManager.read_pod_events':
        await manager.readPodEvents(POD);
        return;
      case 'PodManager.read_pod_logs':
      case 'operator._write_logs':
        await genericApiRetry(next, { clock });
        return;
      case 'operator.await_pod_completion': {
        const probe = numberIn(input, 'probe_status');
        class Waiting extends PodManager {
          override async fetchRequestedContainerLogs(): Promise<readonly PodLoggingStatus[]> {
            await next();
            return [];
          }
          override readPod(): Promise<JsonRecord> {
            events.push('refresh', 'read_pod');
            return probe === undefined ? Promise.resolve(POD) : Promise.reject(apiError(probe));
          }
        }
        class Refreshed extends KubernetesPodOperator {
          override get podManager(): PodManager {
            return new Waiting(cluster, { clock });
          }
        }
        const operator = new Refreshed({ hook: hookOf(cluster), image: 'i', clock });
        operator.pod = POD;
        await operator.awaitPodCompletion(POD);
        return;
      }
      default:
        throw new Error(`no adapter for ${String(input['function'])}`);
    }
  };
  let ended: JsonRecord = { result: 'returned' };
  try {
    await run();
    if (value !== undefined && value !== null) ended = { result: 'returned', value };
  } catch (error) {
    ended = {
      result: 'raised',
      ...(error instanceof KubernetesError && error.status !== 0 ? { status: error.status } : {}),
    };
  }
  const sleeps = clock.sleeps.flatMap(([seconds, times]) => Array.from({ length: times }, () => seconds));
  return {
    calls: state.calls,
    ...ended,
    sleeps,
    ...(String(input['function']).startsWith('operator.await') ? { events } : {}),
  };
}

const lastFailure = ({ input }: OracleCase): JsonRecord =>
  recordsIn(input, 'outcomes').find((one) => 'exception' in one) ?? {};
const retryAfterOf = (theCase: OracleCase): string | undefined => {
  const headers = recordsIn(theCase.input, 'outcomes').flatMap((one) => Object.values(recordIn(one, 'headers')));
  return headers.length === 0 ? undefined : String(headers[0]);
};
const STREAMED = new Set(['PodManager.read_pod_logs', 'operator._write_logs']);

compareWithOracle('api-retry', {
  answer,
  theirs: (output) => {
    if (!isRecord(output)) return output;
    const { status } = output;
    const rest = Object.fromEntries(Object.entries(output).filter(([key]) => key !== 'type' && key !== 'status'));
    return { ...rest, ...(typeof status === 'number' && status !== 0 ? { status } : {}) };
  },
  rules: [
    {
      reason: 'the adapter reads logs and continues where the stream broke; only opening a log is retried like this',
      when: ({ input }) => STREAMED.has(String(input['function'])),
    },
    {
      reason: 'the trigger reads a pod with the retries of every other call, not with three attempts of its own',
      when: ({ input }) => input['function'] === 'KubernetesPodTrigger._get_pod',
    },
    {
      reason: 'a failed connection is retried, whatever the class of the exception',
      when: (theCase) => {
        const failure = failureOf(String(lastFailure(theCase)['exception']));
        return failure instanceof KubernetesError && failure.status === 0;
      },
    },
    {
      reason: 'Retry-After is a number of seconds, 0 or more, and nothing else',
      when: (theCase) => {
        const header = retryAfterOf(theCase);
        return header !== undefined && !/^\d+$/.test(header);
      },
    },
    {
      reason: 'an error without a status is a broken connection, which is transient',
      when: (theCase) =>
        (numberIn(lastFailure(theCase), 'status') ?? 0) === 0 &&
        /ApiException$/.test(String(lastFailure(theCase)['exception'])),
    },
  ],
});
