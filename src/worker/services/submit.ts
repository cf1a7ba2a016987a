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
import { dropUnclaimed } from '../upkeep/unclaimed-requests.ts';
import { checkRequest, hashOf, invalidRequestError } from './validate.ts';

/** What submitting takes. */
export type SubmitParts = BrokerParts<'runs' | 'requests' | 'publish' | 'fill'> &
  Pick<Engine, 'operators' | 'foreign' | 'queues' | 'foreignQueues' | 'tracer' | 'log'>;

/**
 * Checks a request, stores it and publishes it, once; the same again is a duplicate.
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
  const taken = () =>
    new ReentryError('RUN_ID_TAKEN', `run ${run.runId} exists with another request`, { transient: false });
  const seen = await broker.runs.read(run, { leader: true });
  if (seen !== undefined) {
    if (!(await isSame(parts, run, seen.value, hash))) throw taken();
    return { runId: run.runId, queue: seen.value.queue, duplicate: true };
  }
  if ((await broker.fill()) >= FULL_AT)
    throw new ReentryError('BUSY', 'storage is nearly full: new runs are refused so that those begun can end', {
      transient: true,
    });
  const stored = await broker.requests.create(run, read.request);
  if (stored.kind === 'exists' && hashOf(storedRequestSchema.parse(stored.request)) !== hash) throw taken();
  const data = new TextEncoder().encode(JSON.stringify(read.request));
  const span = parts.tracer.start(SPANS.submit, { parent: read.request.traceparent, attributes: attributesOf(run) });
  try {
    await within(span, () => broker.publish.run(run, queue, data, `run:${keys.run(run)}`, span.traceparent));
  } catch (error) {
    const isFinal = error instanceof ReentryError && !error.transient;
    if (isFinal && stored.kind === 'created' && stored.revision !== undefined)
      await takeBack(parts, run, { request: read.request, revision: stored.revision });
    throw error;
  }
  return { runId: run.runId, queue, duplicate: false };
}

/** Whether a run that exists was made of the request with this hash. */
async function isSame({ broker }: SubmitParts, run: RunKey, { requestHash }: RunState, hash: string): Promise<boolean> {
  if (requestHash === hash) return true;
  // It may have been hashed by a worker of another version, with other defaults: hash what is stored again. Of a refused request nothing is.
  const stored = storedRequestSchema.safeParse(await broker.requests.read(run));
  return stored.success && hashOf(stored.data) === hash;
}

/** Deletes the request of a run that could not be published. Where that fails, the janitor does it. */
async function takeBack(
  parts: SubmitParts,
  run: RunKey,
  stored: { readonly request: unknown; readonly revision: number },
): Promise<void> {
  try {
    await dropUnclaimed(parts, run, stored);
  } catch (error) {
    parts.log.warn({ ...run, error: String(error) }, 'deleting the request of a run that was not published failed');
  }
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
