/** What any worker answers on `svc.<tenant>.<verb>`. The tenant comes from the subject only. @see spec protocol §11 */
import { z } from 'zod';
import { isTerminal } from '../../core/run/transitions.ts';
import { diagnoseWait } from '../../core/run/wait-diagnosis.ts';
import { ReentryError } from '../../errors.ts';
import type { Problem } from '../../errors.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import {
  cancelRequestSchema,
  listRequestSchema,
  logsRequestSchema,
  renderRequestSchema,
  resultRequestSchema,
  runQuerySchema,
} from '../../wire/services.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunSummary, ServiceReply } from '../../wire/services.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey, Verb } from '../../wire/subjects.ts';
import { queueOf } from '../../wire/tokens.ts';
import { auditService } from './audit.ts';
import { operatorStep, surroundings } from '../protocol/operator-step.ts';
import type { Engine } from '../protocol/engine.ts';
import { found } from './known-run.ts';
import { gateText, placeFor } from './queue-position.ts';
import { retry, submit } from './submit.ts';
import { checkAnyRequest, invalid, problemsIn, structureProblem } from './validate.ts';

/** Bytes of a result object per answer. */
const RESULT_CHUNK_BYTES = 128 * 1024;
/** Text of one page of logs, as JSON: well below what a NATS server takes as one message (1 MiB), however much of it has to be escaped. */
const LOG_PAGE_BYTES = 512 * 1024;
/** States behind one page of runs, as stored. A summary says less than its state, but for some hundred bytes: names, and what it waits for. */
const LIST_PAGE_BYTES = 512 * 1024;

type Service = (engine: Engine, tenant: string, input: unknown) => unknown;

const SERVICES: Readonly<Record<Verb, Service>> = {
  submit,
  retry,
  status,
  list,
  cancel,
  logs,
  result,
  explain,
  render,
};

/** Answers one request. Every refusal is an answer, none a crash. */
export async function answer(engine: Engine, verb: Verb, tenant: string, data: Uint8Array): Promise<ServiceReply> {
  let input: unknown;
  const answered = (outcome: string, ok?: unknown, problems?: readonly Problem[]) => {
    engine.meter.count('service_requests_total', { verb, outcome });
    if (verb === 'submit' || verb === 'retry' || verb === 'cancel')
      auditService(engine.log, verb, tenant, { input, ok, outcome, problems });
  };
  try {
    input = data.byteLength === 0 ? {} : parsed(data);
    const ok = await SERVICES[verb](engine, tenant, input);
    answered('ok', ok);
    return { ok };
  } catch (error) {
    if (error instanceof z.ZodError) {
      const problems = problemsIn(error).map((problem) => ({ ...problem }));
      answered('INVALID_REQUEST', undefined, problems);
      return { error: { code: 'INVALID_REQUEST', message: 'the request is not as it should be', problems } };
    }
    if (error instanceof ReentryError) {
      answered(error.code, undefined, error.problems);
      const { code, message, problems } = error;
      return {
        error: {
          code,
          message,
          ...(problems.length > 0 ? { problems: problems.map((problem) => ({ ...problem })) } : {}),
        },
      };
    }
    answered('INTERNAL');
    engine.log.error({ verb, tenant, error: String(error) }, 'a service failed');
    return { error: { code: 'INTERNAL', message: 'the worker failed to answer; its log says why' } };
  }
}

function parsed(data: Uint8Array): unknown {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
  } catch {
    throw new ReentryError('INVALID_REQUEST', 'the request is not JSON', { transient: false });
  }
  const problem = structureProblem(json);
  if (problem !== undefined) throw invalid([problem]);
  return json;
}

/** What `status` and `list` say. */
function summary({ tenant, runId }: RunKey, state: RunState, now: number): RunSummary {
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

async function status(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const run = { tenant, runId: runQuerySchema.parse(input).runId };
  const { value: state } = await found(engine, run);
  const told = { ...summary(run, state, engine.broker.now()), ...(await placeFor(engine, run, state)) };
  // Only a pod that should be gone is looked at: asking for the status of a run that merely waits costs no API read.
  return state.await?.gone === true ? { ...told, ...(await blockedBy(engine, state)) } : told;
}

/** Why the run's pod keeps it waiting, as the API has it now; empty where nothing is wrong or the API does not answer. */
async function blockedBy(engine: Engine, { phase, pod }: RunState): Promise<Pick<RunSummary, 'blocked'>> {
  if (pod === undefined || isTerminal(phase)) return {};
  try {
    const seen = await engine.clusters.get(pod.connection).findPod(pod);
    const blocked = seen === undefined ? undefined : diagnoseWait(seen, engine.broker.now());
    return blocked === undefined ? {} : { blocked };
  } catch (error) {
    engine.log.debug({ pod: pod.name, error: String(error) }, 'the pod could not be looked at for a status');
    return {};
  }
}

async function list(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { after, limit, phase } = listRequestSchema.parse(input);
  const page = await engine.broker.runs.list({
    ...{ tenant, limit, maxBytes: LIST_PAGE_BYTES },
    ...(after === undefined ? {} : { after }),
  });
  const runs = page.runs
    .filter(({ value }) => phase === undefined || value.phase === phase)
    .map((entry) => summary(entry, entry.value, engine.broker.now()));
  return { runs, ...(page.next === undefined ? {} : { next: page.next }) };
}

async function cancel(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { runId, reason } = cancelRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await found(engine, run);
  if (!isTerminal(state.phase) && state.cancel === undefined) {
    const message = { v: WIRE_VERSION, kind: 'cancel' as const, ...(reason === undefined ? {} : { reason }) };
    // Repeated within the window of message ids it is one message; later, the table answers it.
    await engine.broker.publish.ctl(run, state.queue, message, `cancel:${keys.run(run)}:${state.step}`);
  }
  return { runId, phase: state.phase, cancelRequested: !isTerminal(state.phase) };
}

async function logs(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { runId, attempt, container, after, limit, follow } = logsRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await found(engine, run);
  const named = after === undefined && container === undefined && (await namesContainers(engine, run, state));
  // Before the history is read: what is stored after that, the follow has as well.
  const live = follow === undefined ? undefined : await engine.follows.ask(run, follow === 'join');
  const page = await engine.broker.logs.read(run, {
    limit,
    maxBytes: LOG_PAGE_BYTES,
    ...(attempt === undefined ? {} : { attempt }),
    ...(container === undefined ? {} : { container }),
    ...(after === undefined ? {} : { after }),
  });
  return {
    chunks: page.chunks,
    ...(page.next === undefined ? {} : { next: page.next }),
    ...(live === undefined ? {} : { live }),
    ...(named ? { containerNames: true } : {}),
  };
}

/** Whether readers are to be shown whose each line is; not where nobody here can say. */
async function namesContainers(engine: Engine, run: RunKey, state: RunState): Promise<boolean> {
  try {
    const { operator, context } = await operatorStep(engine, run, state, undefined);
    return operator.namesContainers?.(context.params, context.request) ?? false;
  } catch (error) {
    engine.log.debug({ ...run, error: String(error) }, 'whose the lines are is not shown');
    return false;
  }
}

/** The whole of an inline result; of an object the part from `offset`, base64, and where the next begins. */
async function result(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { runId, offset } = resultRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await found(engine, run);
  const { outcome, attempt } = state;
  // Between two attempts, the failed one's: a result that it left is not the run's.
  if (!isTerminal(state.phase)) throw new ReentryError('NOT_FOUND', `run ${runId} has not ended`, { transient: true });
  const ref = outcome?.resultRef;
  if (ref === undefined) {
    if (outcome?.result !== undefined) return { result: outcome.result };
    throw new ReentryError('NOT_FOUND', `run ${runId} left no result`, { transient: false });
  }
  const data = await engine.broker.results.get(run, attempt, ref.name);
  if (data === undefined)
    throw new ReentryError('NOT_FOUND', `the result of ${runId} is past its retention`, { transient: false });
  const end = Math.min(data.byteLength, offset + RESULT_CHUNK_BYTES);
  return {
    resultRef: ref,
    encoding: 'base64',
    data: Buffer.from(data.subarray(offset, end)).toString('base64'),
    offset,
    size: data.byteLength,
    ...(end < data.byteLength ? { next: end } : {}),
  };
}

async function explain(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { broker } = engine;
  const run = { tenant, runId: runQuerySchema.parse(input).runId };
  const { value: state, revision } = await found(engine, run);
  const subscription = await broker.subscriptions.read(run);
  const { userFailures, infraFailures, faults, fence, stopping } = state;
  return {
    ...summary(run, state, broker.now()),
    ...(await blockedBy(engine, state)),
    ...(await placeFor(engine, run, state)),
    revision,
    userFailures,
    infraFailures,
    faults,
    putBack: state.naks ?? 0,
    owner: fence.by,
    ...(stopping === undefined ? {} : { stopping }),
    ...(subscription === undefined ? {} : { subscription: subscription.value }),
    events: await podEvents(engine, state),
  };
}

async function podEvents(engine: Engine, { pod }: RunState): Promise<readonly unknown[]> {
  if (pod === undefined) return [];
  try {
    return await engine.clusters.get(pod.connection).podEvents(pod);
  } catch (error) {
    return [
      { type: 'Warning', reason: 'NotReadable', message: String(error), count: 1, lastSeenAt: engine.broker.now() },
    ];
  }
}

async function render(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const asked = renderRequestSchema.parse(input);
  const read = checkAnyRequest(engine, asked.request, { tenant, runId: 'render' });
  if (read.kind === 'refused') throw invalid(read.problems);
  const name = read.request.operator;
  const operator = engine.operators.get(name) ?? engine.foreign.get(name);
  const context = surroundings(engine, { tenant, runId: 'render' }, queueOf(name), read.request, read.params);
  return asked.server === true && operator?.dryRun !== undefined
    ? operator.dryRun(context, 1)
    : operator?.render(context, 1);
}
