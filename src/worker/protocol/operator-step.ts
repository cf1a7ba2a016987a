import { ReentryError } from '../../errors.ts';
import type { Operator, StepContext } from '../../operator/operator.ts';
import { storedRequestSchema } from '../../wire/run-request.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from './engine.ts';
import type { Holding } from './store.ts';
import type { KnownRequest } from './known-requests.ts';

/** A run's operator and what it works with in one step. */
export interface OperatorStep {
  readonly operator: Operator<unknown>;
  readonly context: StepContext<unknown>;
}

/** The operator's surroundings for a stored run. `checkOwner` asks the holding; without one (clean-up after the end) nothing is owned. */
export async function operatorStep(
  engine: Engine,
  run: RunKey,
  state: RunState,
  holding: Holding | undefined,
): Promise<OperatorStep> {
  const operator = engine.operators.get(state.operator) ?? engine.foreign.get(state.operator);
  if (operator === undefined) {
    // A sibling of another version may know it.
    throw new ReentryError('INTERNAL', `operator ${state.operator} is not registered on this worker`, {
      transient: true,
    });
  }
  const { request, params } = engine.known.get(run, state) ?? (await requestOf(engine, run, state, operator));
  const context: StepContext<unknown> = {
    ...surroundings(engine, run, state.queue, request, params),
    state,
    checkOwner: () => (holding === undefined ? Promise.resolve({ cancelRequested: false }) : holding.checkOwner()),
  };
  return { operator, context };
}

async function requestOf(
  { broker, known }: Engine,
  run: RunKey,
  state: RunState,
  { paramsSchema }: Operator<unknown>,
): Promise<KnownRequest> {
  const request = storedRequestSchema.parse(await broker.requests.read(run));
  const read = { request, params: paramsSchema.parse(request.params) };
  known.put(run, state, read);
  return read;
}

/** What is the same for every step of a run. */
export function surroundings(
  engine: Engine,
  run: RunKey,
  queue: string,
  request: RunRequest,
  params: unknown,
): Omit<StepContext<unknown>, 'checkOwner' | 'state'> {
  const { broker, clusters, installation, namespaces, log } = engine;
  return {
    run,
    installation,
    queue,
    request,
    params,
    now: () => broker.now(),
    cluster: (connection) => clusters.get(connection ?? clusters.names[0] ?? 'default'),
    namespaces,
    logs: broker.logs,
    results: broker.results,
    log: log.child({ tenant: run.tenant, runId: run.runId }),
  };
}
