import { isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { phaseOf } from '../../src/airflow/containers.ts';
import { XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import { KubernetesError, ReentryError } from '../../src/errors.ts';
import type { ExecOutcome } from '../../src/ports/cluster.ts';
import { PodManager } from '../../src/airflow/pod-manager.ts';
import { fetchContainerLogs } from '../../src/airflow/pod-logs.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';
import { apiError, failureOf, SimulatedClock, stubCluster, withUid } from './stub-cluster.ts';

const POD = withUid({ metadata: { name: 'pod', namespace: 'ns' } });

/** The results of successive reads of the pod: recorded pods with counts, the last one repeated. */
function reading({ input }: OracleCase) {
  const reads = recordsIn(input, 'reads');
  const state = { reads: 0 };
  const next = (): Promise<JsonRecord> => {
    let index = state.reads;
    state.reads += 1;
    const found = reads.find(({ times }) => (index -= typeof times === 'number' ? times : 1) < 0) ?? reads.at(-1) ?? {};
    if (isRecord(found['pod'])) return Promise.resolve(withUid(found['pod']));
    return Promise.reject(failureOf(found['error'] ?? found['status'] ?? found['exception']));
  };
  return { state, next };
}

async function waited(theCase: OracleCase, params: JsonRecord): Promise<unknown> {
  const clock = new SimulatedClock();
  const begin = clock.now();
  const { state, next } = reading(theCase);
  class Scripted extends PodManager {
    override readPod(): Promise<JsonRecord> {
      return next();
    }
  }
  const manager = new Scripted(stubCluster({}), { clock });
  const name = textIn(params, 'container_name') ?? 'base';
  const run = async (): Promise<JsonRecord> => {
    switch (theCase.input['function']) {
      case 'await_pod_start': {
        const limits = {
          scheduleTimeout: numberIn(params, 'schedule_timeout'),
          startupTimeout: numberIn(params, 'startup_timeout'),
          checkInterval: numberIn(params, 'check_interval'),
        };
        await manager.awaitPodStart(
          POD,
          Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined)),
        );
        return {};
      }
      case 'await_container_completion':
        await manager.awaitContainerCompletion(POD, name, numberIn(params, 'polling_time') ?? 1);
        return {};
      case 'await_pod_completion': {
        const ended = await manager.awaitPodCompletion(POD, {
          istioEnabled: params['istio_enabled'] === true,
          containerName: name,
          doXcomPush: params['do_xcom_push'] === true,
        });
        return { phase: phaseOf(ended) ?? null };
      }
      case '_await_init_container_start':
        await manager.awaitInitContainerStart(POD, name);
        return {};
      default: {
        const limits = {
          timeout: numberIn(params, 'timeout') ?? 900,
          logInterval: numberIn(params, 'log_interval') ?? 30,
        };
        await manager.awaitXcomSidecarContainerStart(POD, limits);
        return {};
      }
    }
  };
  const seen = () => ({
    elapsed_seconds: (clock.now() - begin) / 1000,
    reads: state.reads,
    sleeps: clock.sleeps,
    stop_watching_events: manager.stopWatchingEvents,
  });
  try {
    const more = await run();
    return { ...seen(), ...more, result: 'returned' };
  } catch (error) {
    if (error instanceof RangeError) return { result: 'endless' };
    if (!(error instanceof ReentryError)) throw error;
    return { ...seen(), result: 'raised' };
  }
}

async function followed({ input }: OracleCase): Promise<unknown> {
  const clock = new SimulatedClock();
  const progress: string[] = [];
  const opened: unknown[] = [];
  const streams = Array.isArray(input['streams']) ? [...input['streams']] : [];
  const running = Array.isArray(input['running']) ? [...input['running']] : [];
  let turn = 0;
  let look = 0;
  const sinceTime = textIn(input, 'since_time');
  const follow = input['follow'] === true;
  const status = fetchContainerLogs(
    {
      ...{
        client: stubCluster({}),
        pod: { connection: 'o', namespace: 'ns', name: 'pod', uid: 'u' },
        containerName: 'base',
        clock,
        log: SILENT_LOG,
      },
      callbacks: [{ progressCallback: ({ line }) => void progress.push(line) }],
      isRunning: () => Promise.resolve((running[Math.min(look++, running.length - 1)] ?? false) === true),
      async *open({ sinceSeconds }) {
        opened.push(sinceSeconds ?? null);
        const items: unknown = streams[Math.min(turn++, streams.length - 1)];
        await Promise.resolve();
        for (const item of Array.isArray(items) ? items : []) {
          if (typeof item === 'number') throw apiError(item);
          if (typeof item !== 'string' || !item.endsWith('\n')) throw failureOf(item);
          yield item;
        }
      },
    },
    { follow, ...(sinceTime === undefined ? {} : { sinceTime: new Date(sinceTime) }) },
  );
  try {
    const { running: still, lastLogTime } = await status;
    return {
      result: 'returned',
      running: still,
      last_log_time: lastLogTime?.toISOString() ?? null,
      progress,
      opened,
      sleeps: clock.sleeps,
    };
  } catch (error) {
    if (error instanceof KubernetesError) return { result: 'raised', progress, opened, sleeps: clock.sleeps };
    throw error;
  }
}

/** The outcome of the command that ends the sidecar, by the recording's name. */
function killed(attempt: unknown): Promise<ExecOutcome> {
  if (typeof attempt === 'number') return Promise.reject(apiError(attempt));
  if (attempt === 'closed')
    return Promise.reject(
      new KubernetesError('unknownOutcome', 'the connection was closed', { status: 0, reason: attempt }),
    );
  const outputOn = (text: string, on: unknown): Uint8Array => new TextEncoder().encode(attempt === on ? text : '');
  const failed = attempt === 'stderr' || attempt === 'stderr-twice';
  return Promise.resolve({
    kind: 'ended',
    exitCode: failed ? 1 : 0,
    stdout: outputOn('done', 'stdout'),
    stderr: failed ? 'kill: no such process' : '',
  });
}

async function extracted({ input }: OracleCase): Promise<unknown> {
  const execs: unknown[] = [];
  const attempts = Array.isArray(input['kill_attempts']) ? [...input['kill_attempts']] : [];
  const cluster = stubCluster({
    getPod: () => Promise.resolve(withUid(recordIn(input, 'sidecar'))),
    exec: (_, { container, command }) => {
      const kind = command.some((word) => word.includes('return.json')) ? 'read' : 'kill';
      execs.push({ kind, container });
      if (kind === 'kill') return killed(attempts.shift());
      const stdout = new TextEncoder().encode(textIn(input, 'json_stdout') ?? '');
      return Promise.resolve({ kind: 'ended', exitCode: 0, stdout, stderr: '' });
    },
  });
  try {
    const value = await new PodManager(cluster).extractXcom(withUid(recordIn(input, 'sidecar')));
    return { result: 'returned', execs, value };
  } catch (error) {
    if (!(error instanceof ReentryError)) throw error;
    return { result: 'raised', execs };
  }
}

/** An extraction: the calls and the text. */
function extractTheirs({ execs, result, value }: JsonRecord): JsonRecord {
  // Airflow writes the second command into the first shell; ours is another call.
  const asked = recordsIn({ execs }, 'execs').flatMap(({ kind, container, commands_written: written }) =>
    Array.from({ length: Math.max(1, Number(written ?? 1)) }, () => ({ kind, container })),
  );
  return { result, execs: asked, ...(result === 'returned' ? { value } : {}) };
}

/** A followed log: the opened streams with their start, the records, and the end. */
function followTheirs(output: JsonRecord): JsonRecord {
  const { opened, last_log_time: last, running, progress, result, sleeps } = output;
  const from = Array.isArray(opened)
    ? opened.map((one: unknown) => (isRecord(one) ? one['since_seconds'] || null : one))
    : [];
  const more =
    result === 'returned'
      ? { running, last_log_time: typeof last === 'string' ? new Date(last).toISOString() : null }
      : {};
  return { result, progress, opened: from, sleeps, ...more };
}

const firstOf = (list: unknown): unknown => (Array.isArray(list) ? list[0] : undefined);
const isReadAs = (theCase: OracleCase, when: (pod: JsonRecord) => boolean): boolean =>
  recordsIn(theCase.input, 'reads').some(({ pod }) => isRecord(pod) && when(pod));
const isTerminal = (pod: JsonRecord): boolean => ['Succeeded', 'Failed'].includes(phaseOf(pod) ?? '');
const reasons = (pod: JsonRecord): string => JSON.stringify(recordIn(pod, 'status'));

compareWithOracle('pod-wait', {
  answer: async (theCase) => {
    const { input } = theCase;
    if (input['function'] === 'extract_xcom') return await extracted(theCase);
    return input['function'] === 'fetch_container_logs'
      ? await followed(theCase)
      : await waited(theCase, recordIn(input, 'params'));
  },
  theirs: (output, { input }) => {
    if (!isRecord(output)) return output;
    if (input['function'] === 'fetch_container_logs') return followTheirs(output);
    if (input['function'] === 'extract_xcom') return extractTheirs(output);
    return Object.fromEntries(Object.entries(output).filter(([key]) => key !== 'type'));
  },
  rules: [
    {
      reason: 'waiting for a container ends when its pod ends',
      when: (theCase) =>
        /container_completion|init_container_start|xcom_sidecar/.test(String(theCase.input['function'])) &&
        isReadAs(theCase, isTerminal),
    },
    {
      reason: 'one read of the pod shows whether its sidecar is running and whether it has ended',
      when: ({ input }) => input['function'] === 'await_xcom_sidecar_container_start',
    },
    {
      reason:
        'a stream that starts in the middle of a record starts one, without the word None; lines keep their single newlines',
      when: ({ input }) => input['function'] === 'fetch_container_logs',
      instead: (theirs) => {
        if (!('output' in theirs) || !isRecord(theirs.output)) return theirs;
        const { progress } = theirs.output;
        const clean = (text: unknown): string =>
          String(text)
            .replace(/^None\n/, '')
            .replace(/\n+/g, '\n')
            .replace(/\n$/, '');
        return { output: { ...theirs.output, progress: Array.isArray(progress) ? progress.map(clean) : [] } };
      },
    },
    {
      reason: 'a result that was read is valid, whether or not its sidecar can still be ended',
      when: ({ input }) => input['function'] === 'extract_xcom' && typeof firstOf(input['kill_attempts']) === 'number',
      instead: (theirs, { input }) => ({
        output: {
          ...('output' in theirs ? recordIn(theirs, 'output') : {}),
          result: 'returned',
          value: input['json_stdout'],
        },
      }),
    },
    {
      reason: 'empty text is no result and gives the sentinel, like an empty file',
      when: ({ input }) => input['json_stdout'] === '',
      instead: (theirs) => ({
        output: { ...('output' in theirs ? recordIn(theirs, 'output') : {}), value: XCOM.emptyResult },
      }),
    },
    {
      reason: 'a throttled pull is transient, and so is a registry that does not respond in time',
      when: (theCase) => isReadAs(theCase, (pod) => /deadline exceeded|no such host|timed out/i.test(reasons(pod))),
    },
    {
      reason: 'what waits without limit in Airflow does so here while the pod exists; the caller has the time-out',
      when: ({ theirs }) => 'output' in theirs && isRecord(theirs.output) && theirs.output['result'] === 'endless',
    },
  ],
});
