/** Service `submit`. */
import { v7 as uuid } from 'uuid';
import { textIn } from '../../core/json.ts';
import { ReentryError } from '../../errors.ts';
import type { Operator } from '../../operator/operator.ts';
import { storedRequestSchema } from '../../wire/run-request.ts';
import { submitRequestSchema } from '../../wire/services.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { isTokenText, queueOf } from '../../wire/tokens.ts';
import { FULL_AT } from '../protocol/deliveries.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';
import { attributesOf, SPANS, within } from '../protocol/tracing.ts';
import { checkRequest, hashOf, invalidRequestError, readAnyRequest } from './validate.ts';

/** What submitting takes. */
export type SubmitParts = BrokerParts<'runs' | 'requests' | 'queues' | 'publish' | 'fill'> &
  Pick<Engine, 'operators' | 'foreign' | 'queues' | 'foreignQueues' | 'tracer'>;

/**
 * Checks a request and publishes it. The first request in the stream makes the run, so what was published is compared with that one: the same is a
 * duplicate.
 * @throws ReentryError INVALID_REQUEST, RUN_ID_TAKEN, BUSY, NOT_FOUND (queue)
 */
export async function submit(parts: SubmitParts, tenant: string, input: unknown): Promise<unknown> {
  const { broker } = parts;
  const asked = submitRequestSchema.parse(input);
  const run: RunKey = { tenant, runId: asked.runId ?? uuid() };
  const read = checkRequest(parts, asked.request, run);
  if (read.kind === 'refused') throw invalidRequestError(read.problems);
  if (!isTokenText(run.runId))
    throw invalidRequestError([{ path: 'runId', message: 'is empty, or longer than 128 characters once encoded' }]);
  const queue = asked.queue ?? queueOf(read.request.operator);
  const { operator } = read.request;
  if ((parts.operators.has(operator) ? parts.foreignQueues : parts.queues).includes(queue)) {
    const [kind, other] = operator === 'command' ? ['executors', 'workers'] : ['workers', 'executors'];
    const message = `${queue} is served by ${other}; operator ${operator} runs on a queue of ${kind} (default queue: ${queueOf(operator)})`;
    throw invalidRequestError([{ path: 'queue', message }]);
  }
  const forbidden =
    policyOperator(parts, read.request, read.params)?.checkPolicy?.(read.request, read.params, run) ?? [];
  if (forbidden.length > 0) throw invalidRequestError(forbidden);
  if (asked.dryRun === true) return { runId: run.runId, queue, dryRun: true };
  const hash = hashOf(read.request);
  const before = await standing(parts, run, hash);
  if (before !== undefined) return { runId: run.runId, queue: before.queue, duplicate: true };
  if ((await broker.fill()) >= FULL_AT)
    throw new ReentryError('BUSY', 'storage is nearly full: new runs are refused so that those begun can end', {
      transient: true,
    });
  const data = new TextEncoder().encode(JSON.stringify(read.request));
  const span = parts.tracer.start(SPANS.submit, { parent: read.request.traceparent, attributes: attributesOf(run) });
  const published = await within(span, () =>
    broker.publish.run(run, queue, data, `run:${keys.run(run)}`, span.traceparent),
  );
  const made = await standing(parts, run, hash);
  if (made === undefined)
    throw new ReentryError('BUSY', 'the stream of requests has just changed its leader', { transient: true });
  const isOurs = !published.duplicate && (made.seq === undefined || made.seq === published.seq);
  return { runId: run.runId, queue: made.queue, duplicate: !isOurs };
}

/**
 * What stands under the run id: the run, or the first request for it, which has the sequence `seq`. The first request is read before the state: one
 * that is no longer there has a state by then.
 * @throws ReentryError RUN_ID_TAKEN where it is of another request than the one with this hash
 */
async function standing(
  parts: SubmitParts,
  run: RunKey,
  hash: string,
): Promise<{ readonly queue: string; readonly seq?: number } | undefined> {
  const { queues, runs } = parts.broker;
  const first = await queues.firstRequest(run);
  const state = (await runs.read(run, { leader: true }))?.value;
  const taken = () =>
    new ReentryError('RUN_ID_TAKEN', `run ${run.runId} exists with another request`, { transient: false });
  if (state !== undefined) {
    if (!(await isSame(parts, run, state, hash))) throw taken();
    return { queue: state.queue };
  }
  if (first === undefined) return undefined;
  const read = readAnyRequest(parts, first.data, run);
  if (read.kind === 'refused' || hashOf(read.request) !== hash) throw taken();
  return first;
}

/** Whether a run that exists was made of the request with this hash. */
async function isSame({ broker }: SubmitParts, run: RunKey, { requestHash }: RunState, hash: string): Promise<boolean> {
  if (requestHash === hash) return true;
  // A refused request has no hash.
  if (requestHash === '') return false;
  // It may have been hashed by a worker of another version, with other defaults: hash what is stored again.
  const stored = storedRequestSchema.safeParse(await broker.requests.read(run));
  return stored.success && hashOf(stored.data) === hash;
}

/** The operator that knows what the tenant's policy would refuse; none where the pod is made from a template that only the other kind of process has. */
function policyOperator(
  { operators, foreign }: SubmitParts,
  { operator }: RunRequest,
  params: unknown,
): Operator<unknown> | undefined {
  const isPlainPod = operator === 'pod' && textIn(params, 'podTemplateFile') === undefined;
  return operators.get(operator) ?? (isPlainPod ? foreign.get(operator) : undefined);
}
