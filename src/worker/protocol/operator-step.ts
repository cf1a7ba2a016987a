/** The operator of a stored run, and what it works with in one step. */
import { LOG_GAP_TEXT } from '../../core/log/cursor.ts';
import { ReentryError } from '../../errors.ts';
import type { Operator, StepContext } from '../../operator/operator.ts';
import type { Meter } from '../../ports/ambient.ts';
import type { LogStore } from '../../ports/stores.ts';
import { storedRequestSchema } from '../../wire/run-request.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from './engine.ts';
import type { KnownRequest } from './known-requests.ts';

/** What a step of an operator is made with. */
export type OperatorParts = BrokerParts<'requests' | 'logs' | 'results' | 'now'> &
  Pick<
    Engine,
    'operators' | 'foreign' | 'known' | 'clusters' | 'availability' | 'installation' | 'namespaces' | 'log' | 'meter'
  >;

/** An operator and its context. */
export interface OperatorStep {
  readonly operator: Operator<unknown>;
  readonly context: StepContext<unknown>;
}

/** `checkOwner` outside of a step: clean-up after the end, services. */
const UNOWNED: Pick<StepContext<unknown>, 'checkOwner'> = {
  checkOwner: () => Promise.resolve({ cancelRequested: false }),
};

/**
 * The operator of a run and its context. `owner`: the owned run of a step.
 * @throws ReentryError INTERNAL, transient, for an operator that is not registered here: a worker of another version may know it
 */
export async function operatorStep(
  parts: OperatorParts,
  run: RunKey,
  state: RunState,
  owner: Pick<StepContext<unknown>, 'checkOwner'> = UNOWNED,
): Promise<OperatorStep> {
  const operator = parts.operators.get(state.operator) ?? parts.foreign.get(state.operator);
  if (operator === undefined) {
    throw new ReentryError('INTERNAL', `operator ${state.operator} is not registered on this worker`, {
      transient: true,
    });
  }
  const { request, params } = parts.known.get(run, state) ?? (await readRequest(parts, run, state, operator));
  const context: StepContext<unknown> = {
    ...requestContext(parts, run, state.queue, request, params),
    state,
    checkOwner: () => owner.checkOwner(),
  };
  return { operator, context };
}

async function readRequest(
  { broker, known }: OperatorParts,
  run: RunKey,
  state: RunState,
  { paramsSchema }: Operator<unknown>,
): Promise<KnownRequest> {
  const request = storedRequestSchema.parse(await broker.requests.read(run));
  const read = { request, params: paramsSchema.parse(request.params) };
  known.put(run, state, read);
  return read;
}

/** The part of a step's context that is the same for every step of a run. */
export function requestContext(
  { broker, clusters, availability, installation, namespaces, log, meter }: OperatorParts,
  run: RunKey,
  queue: string,
  request: RunRequest,
  params: unknown,
): Omit<StepContext<unknown>, 'checkOwner' | 'state'> {
  return {
    run,
    installation,
    queue,
    request,
    params,
    now: broker.now,
    cluster: (connection) => clusters.get(connection ?? clusters.names[0] ?? 'default'),
    namespaces,
    availability,
    logs: countedLogs(broker.logs, meter),
    results: broker.results,
    log: log.child({ tenant: run.tenant, runId: run.runId }),
  };
}

const LINE_FEED = 10;
/** A gap as it stands in a chunk: a line of its own, after its time. */
const GAP_LINE = ` ${LOG_GAP_TEXT}\n`;

/** The log store, counting the lines and gaps that it stores. */
function countedLogs(logs: LogStore, meter: Meter): LogStore {
  return {
    ...logs,
    async append(run, attempt, container, chunk, expectedSequence) {
      const { text } = chunk;
      const bytes =
        typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.length);
      // Counted first: the caller may overwrite the bytes once the store has answered.
      const gaps = occurrences(bytes, GAP_LINE);
      const lines = occurrences(bytes, LINE_FEED) - gaps;
      const outcome = await logs.append(run, attempt, container, chunk, expectedSequence);
      if (outcome.kind === 'stored') {
        meter.count('log_lines_total', {}, lines);
        if (gaps > 0) meter.count('log_gaps_total', {}, gaps);
      }
      return outcome;
    },
  };
}

function occurrences(bytes: Buffer, what: string | number): number {
  let found = 0;
  for (let at = bytes.indexOf(what); at >= 0; at = bytes.indexOf(what, at + 1)) found += 1;
  return found;
}
