/** A run as `status`, `explain` and `list` report it. */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import type { DiagnosisCode } from '../../core/run/diagnosis.ts';
import { isTerminal } from '../../core/run/transitions.ts';
import { diagnoseWait } from '../../core/run/wait-diagnosis.ts';
import { shortText } from '../../core/short-text.ts';
import { ReentryError } from '../../errors.ts';
import type { Versioned } from '../../ports/stores.ts';
import type { RunState } from '../../wire/run-state.ts';
import { runQuerySchema } from '../../wire/services.ts';
import type { RunSummary } from '../../wire/services.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { isTokenText } from '../../wire/tokens.ts';
import type { Gate } from '../../wire/triggers.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';

type StatusParts = BrokerParts<'runs' | 'queries' | 'now'> & Pick<Engine, 'clusters' | 'log'>;

/** The state of the run that a client names. @throws ReentryError NOT_FOUND */
export async function requireRun({ broker }: BrokerParts<'runs'>, run: RunKey): Promise<Versioned<RunState>> {
  // An invalid id cannot exist; skip the lookup.
  const seen = isTokenText(run.runId) ? await broker.runs.read(run, { leader: true }) : undefined;
  if (seen === undefined)
    throw new ReentryError('NOT_FOUND', `no run ${shortText(run.runId)} of tenant ${run.tenant}`, { transient: false });
  return seen;
}

/** Service `status`. */
export async function status(parts: StatusParts, tenant: string, input: unknown): Promise<RunSummary> {
  const run = { tenant, runId: runQuerySchema.parse(input).runId };
  const { value: state } = await requireRun(parts, run);
  return {
    ...summary(run, state, parts.broker.now()),
    ...(await queuePositionOf(parts, run, state)),
    // Only a pod that should be gone is read: the status of a run that merely waits costs no request to the API server.
    ...(state.await?.gone === true ? await blockedBy(parts, state) : {}),
  };
}

/** Service `explain`: the status, and what the engine and Kubernetes know beyond it. */
export async function explain(
  parts: StatusParts & BrokerParts<'subscriptions'>,
  tenant: string,
  input: unknown,
): Promise<unknown> {
  const { broker } = parts;
  const run = { tenant, runId: runQuerySchema.parse(input).runId };
  const { value: state, revision } = await requireRun(parts, run);
  const subscription = await broker.subscriptions.read(run);
  const { userFailures, infraFailures, faults, fence, stopping } = state;
  return {
    ...summary(run, state, broker.now()),
    ...(await blockedBy(parts, state)),
    ...(await queuePositionOf(parts, run, state)),
    revision,
    userFailures,
    infraFailures,
    faults,
    requeues: state.naks ?? 0,
    owner: fence.by,
    ...(stopping === undefined ? {} : { stopping }),
    ...(subscription === undefined ? {} : { subscription: subscription.value }),
    events: await podEvents(parts, state),
  };
}

/** A state in the words of the client's contract. */
export function summary({ tenant, runId }: RunKey, state: RunState, now: number): RunSummary {
  const { phase, queue, operator, attempt, step, pod, outcome, timings } = state;
  const waitingFor = waitOf(state, now);
  return {
    tenant,
    runId,
    phase,
    queue,
    operator,
    attempt,
    step,
    timings,
    ...(state.parentRunId === undefined ? {} : { parentRunId: state.parentRunId }),
    ...(waitingFor === undefined ? {} : { waitingFor }),
    ...(state.blocked === undefined || isTerminal(phase) ? {} : { blocked: state.blocked }),
    ...(pod === undefined ? {} : { pod }),
    ...(outcome === undefined ? {} : isTerminal(phase) ? { outcome } : { lastOutcome: outcome }),
    ...(state.cancel === undefined || isTerminal(phase) ? {} : { cancelRequested: true }),
    ...(state.priority === undefined ? {} : { priority: state.priority }),
    ...(state.concurrencyKey === undefined ? {} : { concurrencyKey: state.concurrencyKey }),
  };
}

function waitOf({ phase, await: wait, pod, queue }: RunState, now: number): string | undefined {
  if (isTerminal(phase) || wait === undefined) return phase === 'Queued' ? 'a worker' : undefined;
  if (wait.gate !== undefined) return gateText(wait.gate.why, queue, wait.gate.concurrencyKey);
  if (wait.gone === true) return `pod ${pod?.name ?? ''} to be gone`;
  if (wait.terminal === true) return `pod ${pod?.name ?? ''} to end`;
  const notBefore = wait.notBefore ?? now;
  return notBefore > now ? new Date(notBefore).toISOString() : 'a worker';
}

/** Why the run's pod makes it wait, as the API server shows it now; empty where nothing is wrong or it does not answer. */
async function blockedBy(
  { clusters, broker, log }: BrokerParts<'now'> & Pick<Engine, 'clusters' | 'log'>,
  { phase, pod }: RunState,
): Promise<Pick<RunSummary, 'blocked'>> {
  if (pod === undefined || isTerminal(phase)) return {};
  try {
    const found = await clusters.get(pod.connection).findPod(pod);
    const blocked = found === undefined ? undefined : diagnoseWait(found, broker.now());
    return blocked === undefined ? {} : { blocked };
  } catch (error) {
    log.debug({ pod: pod.name, error: String(error) }, 'reading the pod for a status failed');
    return {};
  }
}

async function podEvents(
  { clusters, broker }: BrokerParts<'now'> & Pick<Engine, 'clusters'>,
  { pod }: RunState,
): Promise<readonly unknown[]> {
  if (pod === undefined) return [];
  try {
    return await clusters.get(pod.connection).podEvents(pod);
  } catch (error) {
    return [{ type: 'Warning', reason: 'NotReadable', message: String(error), count: 1, lastSeenAt: broker.now() }];
  }
}

/** What a run waits for at its gate. */
function gateText(why: Gate['why'], queue: string, concurrencyKey = ''): string {
  switch (why) {
    case 'paused':
      return `queue ${queue} to be resumed`;
    case 'turn':
      return `its turn in queue ${queue}`;
    case 'key':
      return `a slot of concurrencyKey ${concurrencyKey}`;
  }
}

/** The position of a run held back by a gate, and why it does not start; empty for other runs. */
async function queuePositionOf(
  { broker }: BrokerParts<'queries'>,
  run: RunKey,
  { await: wait, queue, phase }: RunState,
): Promise<Pick<RunSummary, 'queuePosition' | 'blocked' | 'waitingFor'>> {
  if (phase !== 'Queued' || wait?.gate === undefined) return {};
  const queuePosition = await broker.queries.queuePosition(run);
  // A triggerer knows the queue as it is now; the state only what held the run back when it was written.
  const why = queuePosition?.why ?? wait.gate.why;
  const known = queuePosition === undefined ? {} : { queuePosition };
  if (why === 'admitted') return { ...known, waitingFor: 'a worker' };
  const key = wait.gate.concurrencyKey;
  const { position, of, reason = '' } = queuePosition ?? {};
  const standing = position === undefined ? '' : ` (${String(position)} of ${String(of)})`;
  const alone = position === undefined ? '' : `position ${String(position)} of ${String(of)}`;
  const message = reason === '' ? alone : `${reason}${standing}`;
  const facts = { subject: why === 'key' ? (key ?? '') : queue, ...(message === '' ? {} : { message }) };
  return {
    waitingFor: `${gateText(why, queue, key)}${standing}`,
    ...known,
    blocked: diagnosisOf(GATE_CODES[why], facts),
  };
}

const GATE_CODES = { paused: 'QUEUE_PAUSED', turn: 'QUEUE_TURN', key: 'CONCURRENCY_LIMIT' } as const satisfies Record<
  Gate['why'],
  DiagnosisCode
>;
