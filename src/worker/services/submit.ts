/** The verbs that ask for runs: `submit` and `retry`. @see spec protocol §11 */
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { textIn } from '../../core/json.ts';
import { isTerminal } from '../../core/run/transitions.ts';
import { ReentryError } from '../../errors.ts';
import type { Operator } from '../../operator/operator.ts';
import { storedRequestSchema } from '../../wire/run-request.ts';
import { retryRequestSchema, submitRequestSchema } from '../../wire/services.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { isTokenText, queueOf } from '../../wire/tokens.ts';
import type { Engine } from '../protocol/engine.ts';
import { found } from './known-run.ts';
import { attributesOf, SPANS, within } from '../protocol/tracing.ts';
import { dropUnclaimed } from '../upkeep/unclaimed-requests.ts';
import { checkAnyRequest, hashOf, invalid } from './validate.ts';

/** From here on a bucket's room is kept for finishing what has begun. @see spec protocol §2 */
export const FULL_AT = 0.8;

/** Stores the request and publishes it, once; the same again is a duplicate. @throws ReentryError INVALID_REQUEST, RUN_ID_TAKEN, BUSY, NOT_FOUND (queue) */
export async function submit(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { broker } = engine;
  const asked = submitRequestSchema.parse(input);
  const run: RunKey = { tenant, runId: asked.runId ?? uuid() };
  const read = checkAnyRequest(engine, asked.request, run);
  if (read.kind === 'refused') throw invalid(read.problems);
  if (!isTokenText(run.runId))
    throw invalid([{ path: 'runId', message: 'is empty, or longer than 128 characters once encoded' }]);
  const queue = asked.queue ?? queueOf(read.request.operator);
  const { operator } = read.request;
  if ((engine.operators.has(operator) ? engine.foreignQueues : engine.queues).includes(queue)) {
    const [kind, other] = operator === 'command' ? ['executors', 'workers'] : ['workers', 'executors'];
    const message = `${queue} is served by ${other}; operator ${operator} runs on a queue of ${kind} (default queue: ${queueOf(operator)})`;
    throw invalid([{ path: 'queue', message }]);
  }
  const forbidden = judge(engine, read.request, read.params)?.admit?.(read.request, read.params, run) ?? [];
  if (forbidden.length > 0) throw invalid(forbidden);
  if (asked.dryRun === true) return { runId: run.runId, queue, dryRun: true };
  const hash = hashOf(read.request);
  const taken = () =>
    new ReentryError('RUN_ID_TAKEN', `run ${run.runId} exists with another request`, { transient: false });
  const seen = await broker.runs.read(run, { leader: true });
  if (seen !== undefined) {
    if (!(await isSame(engine, run, seen.value, hash))) throw taken();
    return { runId: run.runId, queue: seen.value.queue, duplicate: true };
  }
  if ((await broker.fill()) >= FULL_AT)
    throw new ReentryError('BUSY', 'storage is nearly full: new runs wait so that those begun can end', {
      transient: true,
    });
  const stored = await broker.requests.create(run, read.request);
  if (stored.kind === 'exists' && hashOf(storedRequestSchema.parse(stored.request)) !== hash) throw taken();
  const data = new TextEncoder().encode(JSON.stringify(read.request));
  const span = engine.tracer.start(SPANS.submit, { parent: read.request.traceparent, attributes: attributesOf(run) });
  try {
    await within(span, () => broker.publish.run(run, queue, data, `run:${keys.run(run)}`, span.traceparent));
  } catch (error) {
    const isFinal = error instanceof ReentryError && !error.transient;
    if (isFinal && stored.kind === 'created' && stored.revision !== undefined)
      await takeBack(engine, run, { request: read.request, revision: stored.revision });
    throw error;
  }
  return { runId: run.runId, queue, duplicate: false };
}

/** Whether a run that exists was made of the request with this hash. */
async function isSame({ broker }: Engine, run: RunKey, { requestHash }: RunState, hash: string): Promise<boolean> {
  if (requestHash === hash) return true;
  // Hashed by a worker of another version, which had other defaults: as it would be hashed now. Of what was refused nothing is stored.
  const stored = storedRequestSchema.safeParse(await broker.requests.read(run));
  return stored.success && hashOf(stored.data) === hash;
}

/** Deletes the request of a run that cannot be asked for. Where that fails the janitor does it. */
async function takeBack(
  engine: Engine,
  run: RunKey,
  stored: { readonly request: unknown; readonly revision: number },
): Promise<void> {
  try {
    await dropUnclaimed(engine, run, stored);
  } catch (error) {
    engine.log.warn({ ...run, error: String(error) }, 'the request of a run that cannot be could not be deleted');
  }
}

/** Asks for an ended run again, under a new id that names it as its parent. */
export async function retry(engine: Engine, tenant: string, input: unknown): Promise<unknown> {
  const { runId, newRunId, queue } = retryRequestSchema.parse(input);
  const run = { tenant, runId };
  const { value: state } = await found(engine, run);
  if (!isTerminal(state.phase))
    throw new ReentryError('INVALID_REQUEST', `run ${runId} has not ended; cancel it first`, { transient: false });
  const stored = z.record(z.string(), z.json()).safeParse(await engine.broker.requests.read(run));
  if (!stored.success)
    throw new ReentryError('NOT_FOUND', `the request of run ${runId} was refused or is past its retention`, {
      transient: false,
    });
  return submit(engine, tenant, {
    queue: queue ?? state.queue,
    request: { ...stored.data, parentRunId: runId },
    ...(newRunId === undefined ? {} : { runId: newRunId }),
  });
}

/** Who can say what the tenant's policy would refuse: not where the pod comes from a template that only the other kind of process has. */
function judge(
  { operators, foreign }: Engine,
  { operator }: RunRequest,
  params: unknown,
): Operator<unknown> | undefined {
  const isPlainPod = operator === 'pod' && textIn(params, 'podTemplateFile') === undefined;
  return operators.get(operator) ?? (isPlainPod ? foreign.get(operator) : undefined);
}
