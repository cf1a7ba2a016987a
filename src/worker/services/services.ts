/** The services on `svc.<tenant>.<verb>`, which any worker answers. The tenant comes from the subject only. @see src/wire/README.md, "Client contract" */
import { merge } from 'rxjs';
import type { Observable } from 'rxjs';
import { z } from 'zod';
import { isTerminal } from '../../core/run/transitions.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import { ReentryError } from '../../errors.ts';
import type { Problem } from '../../errors.ts';
import type { RunState } from '../../wire/run-state.ts';
import {
  cancelRequestSchema,
  listRequestSchema,
  logsRequestSchema,
  renderRequestSchema,
  resultRequestSchema,
  retryRequestSchema,
} from '../../wire/services.ts';
import type { ServiceReply } from '../../wire/services.ts';
import { keys, VERBS } from '../../wire/subjects.ts';
import type { RunKey, Verb } from '../../wire/subjects.ts';
import { queueOf } from '../../wire/tokens.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';
import { operatorStep, requestContext } from '../protocol/operator-step.ts';
import type { OperatorParts } from '../protocol/operator-step.ts';
import { auditService } from './audit.ts';
import { explain, requireRun, status, summary } from './status.ts';
import { submit } from './submit.ts';
import type { SubmitParts } from './submit.ts';
import { checkRequest, invalidRequestError, problemsIn, structureProblem } from './validate.ts';

/** Bytes of a result object per answer. */
const RESULT_CHUNK_BYTES = 128 * 1024;
/** Text of one page of logs as JSON, escapes included: well below the default message limit of a NATS server (1 MiB). */
const LOG_PAGE_BYTES = 512 * 1024;
/** Stored states behind one page of runs. A summary is at most some hundred bytes longer than its state: names, and what it waits for. */
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

/** Answers every verb, and what `doctor` asks of all roles. Never completes. */
export function services$(
  engine: Engine,
  as: { readonly role: string; readonly version: string; readonly problems: () => readonly string[] },
): Observable<never> {
  const { broker, id, queues } = engine;
  return merge(
    ...VERBS.map((verb) => broker.services.serve$(verb, (tenant, data) => answer(engine, verb, tenant, data))),
    broker.queries.answer$('roles', () => ({
      ...{ role: as.role, version: as.version, id, queues },
      clockOffsetMs: broker.clockOffsetMs(),
      problems: as.problems(),
    })),
  );
}

/** Answers one request. Never rejects: a refusal is an answer. */
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
      return { error: { code: 'INVALID_REQUEST', message: 'invalid request', problems } };
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
    engine.log.error({ verb, tenant, error: String(error) }, 'answering a service request failed');
    return { error: { code: 'INTERNAL', message: 'the worker failed to answer; see its log' } };
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
  if (problem !== undefined) throw invalidRequestError([problem]);
  return json;
}

async function list(parts: BrokerParts<'runs' | 'now'>, tenant: string, input: unknown): Promise<unknown> {
  const { after, limit, phase } = listRequestSchema.parse(input);
  const page = await parts.broker.runs.list({
    ...{ tenant, limit, maxBytes: LIST_PAGE_BYTES },
    ...(after === undefined ? {} : { after }),
  });
  const runs = page.runs
    .filter(({ value }) => phase === undefined || value.phase === phase)
    .map((entry) => summary(entry, entry.value, parts.broker.now()));
  return { runs, ...(page.next === undefined ? {} : { next: page.next }) };
}

async function cancel(parts: BrokerParts<'runs' | 'publish'>, tenant: string, input: unknown): Promise<unknown> {
  const { runId, reason } = cancelRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await requireRun(parts, run);
  if (!isTerminal(state.phase) && state.cancel === undefined) {
    const message = { v: WIRE_VERSION, kind: 'cancel' as const, ...(reason === undefined ? {} : { reason }) };
    // Repeated within the duplicate window it is one message; later, it changes nothing.
    await parts.broker.publish.ctl(run, state.queue, message, `cancel:${keys.run(run)}:${state.step}`);
  }
  return { runId, phase: state.phase, cancelRequested: !isTerminal(state.phase) };
}

type LogsParts = BrokerParts<'runs' | 'logs'> & OperatorParts & Pick<Engine, 'follows'>;

async function logs(parts: LogsParts, tenant: string, input: unknown): Promise<unknown> {
  const { runId, attempt, container, after, limit, follow } = logsRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await requireRun(parts, run);
  const named = after === undefined && container === undefined && (await namesContainers(parts, run, state));
  // Before the history is read: the follow includes whatever is stored after that.
  const live = follow === undefined ? undefined : await parts.follows.ask(run, follow === 'join');
  const page = await parts.broker.logs.read(run, {
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

/** Whether lines of the log are shown with their container's name; not where the operator is unknown here. */
async function namesContainers(parts: OperatorParts, run: RunKey, state: RunState): Promise<boolean> {
  try {
    const { operator, context } = await operatorStep(parts, run, state);
    return operator.namesContainers?.(context.params, context.request) ?? false;
  } catch (error) {
    parts.log.debug({ ...run, error: String(error) }, 'containers of log lines are not named');
    return false;
  }
}

/** An inline result as a whole; of a result object the part from `offset`, base64, and the offset of the next part. */
async function result(parts: BrokerParts<'runs' | 'results'>, tenant: string, input: unknown): Promise<unknown> {
  const { runId, offset } = resultRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await requireRun(parts, run);
  const { outcome, attempt } = state;
  // Between two attempts, `outcome` is the failed attempt's, and so is its result.
  if (!isTerminal(state.phase)) throw new ReentryError('NOT_FOUND', `run ${runId} has not ended`, { transient: true });
  const ref = outcome?.resultRef;
  if (ref === undefined) {
    if (outcome?.result !== undefined) return { result: outcome.result };
    throw new ReentryError('NOT_FOUND', `run ${runId} left no result`, { transient: false });
  }
  const data = await parts.broker.results.get(run, attempt, ref.name);
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

async function render(parts: OperatorParts, tenant: string, input: unknown): Promise<unknown> {
  const asked = renderRequestSchema.parse(input);
  const read = checkRequest(parts, asked.request, { tenant, runId: 'render' });
  if (read.kind === 'refused') throw invalidRequestError(read.problems);
  const name = read.request.operator;
  const operator = parts.operators.get(name) ?? parts.foreign.get(name);
  const context = requestContext(parts, { tenant, runId: 'render' }, queueOf(name), read.request, read.params);
  return asked.server === true && operator?.dryRun !== undefined
    ? operator.dryRun(context, 1)
    : operator?.render(context, 1);
}

/** Submits the request of an ended run again, under a new id that names the old run as its parent. */
async function retry(parts: SubmitParts, tenant: string, input: unknown): Promise<unknown> {
  const { runId, newRunId, queue } = retryRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await requireRun(parts, run);
  if (!isTerminal(state.phase))
    throw new ReentryError('INVALID_REQUEST', `run ${runId} has not ended; cancel it first`, { transient: false });
  const stored = z.record(z.string(), z.json()).safeParse(await parts.broker.requests.read(run));
  if (!stored.success)
    throw new ReentryError('NOT_FOUND', `the request of run ${runId} was refused or is past its retention`, {
      transient: false,
    });
  return submit(parts, tenant, {
    queue: queue ?? state.queue,
    request: { ...stored.data, parentRunId: runId },
    ...(newRunId === undefined ? {} : { runId: newRunId }),
  });
}
