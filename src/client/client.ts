/** The client of one tenant: submits runs, waits for them, reads them. Needs a client's NATS permissions only. */
import { defer, endWith, ignoreElements, merge, ReplaySubject, take, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import { v7 as uuidV7 } from 'uuid';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { ClientBroker, StoredEvent } from '../ports/client.ts';
import type { CompletedData } from '../wire/events.ts';
import type { RunRequestInput } from '../wire/run-request.ts';
import type { Phase } from '../wire/run-state.ts';
import type { Verb } from '../wire/subjects.ts';
import { DEFAULT_QUEUE, isTokenText } from '../wire/tokens.ts';
import type { LogText } from './log-lines.ts';
import { readLines } from './log-reading.ts';
import {
  replyValue,
  cancelReplySchema,
  explainReplySchema,
  listReplySchema,
  logsReplySchema,
  resultReplySchema,
  runSummarySchema,
  submitReplySchema,
} from './replies.ts';
import type { Explanation, RunPage, RunStatus } from './replies.ts';
import { completed$, completion, LOOK_AGAIN_MS, runEvents$ } from './run-events.ts';
import { submit, submitAll } from './submission.ts';
import type { Receipt, RunSubmission, SubmissionResult, SubmitAllOptions, SubmitOptions } from './submission.ts';
import { collectTriggerers } from './triggerers.ts';
import type { Triggerers } from './triggerers.ts';

/** What of a log to read. */
export interface LogOptions {
  /** Continue until the run has completed. Default false. */
  readonly follow?: boolean;
  /** Only this attempt. Default: all. */
  readonly attempt?: number;
  /** Only this container. Default: all of the pod's. */
  readonly container?: string;
}

/** A connection of one tenant. Disposing it ends everything that waits on it, and leaves nothing that keeps the process alive. */
export interface Client extends AsyncDisposable {
  readonly tenant: string;
  /**
   * Submits a run. Safe to repeat with the same `runId`.
   * @throws ReentryError INVALID_REQUEST with all problems, RUN_ID_TAKEN, NOT_FOUND for an unknown queue, TOO_LARGE, BUSY, NATS_UNAVAILABLE
   */
  submit(request: RunRequestInput, options?: SubmitOptions): Promise<Receipt>;
  /**
   * Submits many runs, `concurrency` at a time, and yields the result of each as it comes. Safe to repeat for submissions with a `runId`.
   * A refused submission is a result with `error`; a failure that would meet all others too (no broker) is thrown.
   */
  submitAll(
    submissions: Iterable<RunSubmission> | AsyncIterable<RunSubmission>,
    options?: SubmitAllOptions,
  ): AsyncIterable<SubmissionResult>;
  /**
   * Repeats an ended run as a new one, with the same request and `parentRunId` `runId`. Safe to repeat with the same `newRunId`.
   * @throws ReentryError NOT_FOUND, INVALID_REQUEST while it has not ended
   */
  retry(runId: string, options?: { readonly newRunId?: string; readonly queue?: string }): Promise<Receipt>;
  /**
   * Waits for the run's `completed` event, through reconnections.
   * @throws ReentryError TIMEOUT after `timeoutMs` (default: never); NATS_UNAVAILABLE once the client is closed
   */
  waitFor(runId: string, options?: { readonly timeoutMs?: number }): Promise<CompletedData>;
  /** Lifecycle events of a run, each once: the stored ones, then new ones. Completes after `completed`, and when the client is closed. */
  events$(runId: string): Observable<StoredEvent>;
  /** Lifecycle events of all runs of the tenant, from now on. May miss some; `reentry setup --subscriber` creates a feed that does not. Completes when the client is closed. */
  allEvents$(): Observable<StoredEvent>;
  /** Stored log lines in order and, with `follow`, those to come, until the run has completed or the client is closed. */
  logs(runId: string, options?: LogOptions): AsyncIterable<LogText>;
  /** Cancels a run. Resolves to its phase before it ends: the run is over when its `completed` event arrives. */
  cancel(runId: string, reason?: string): Promise<{ readonly phase: Phase | undefined }>;
  /** The result of an ended run. @throws ReentryError NOT_FOUND where there is no such run, or it has no result */
  result(runId: string): Promise<unknown>;
  status(runId: string): Promise<RunStatus>;
  list(options?: { readonly after?: number; readonly limit?: number; readonly phase?: Phase }): Promise<RunPage>;
  /** Why a run failed, waits or was cancelled. */
  explain(runId: string): Promise<Explanation>;
  /**
   * The live triggerers, by their heartbeats. Resolves after `listenMs` milliseconds (default 1,300: two heartbeats and some slack).
   * @throws ReentryError FORBIDDEN with a tenant's credentials: only the installation's operator may see them
   */
  triggerers(options?: { readonly listenMs?: number }): Promise<Triggerers>;
  /** The pod that a request would create, environment values redacted. Nothing is created. `server`: as the API server would admit it. */
  render(request: RunRequestInput, options?: { readonly server?: boolean }): Promise<unknown>;
}

/** A client of one tenant over an open connection. Disposing the client closes it. */
export function clientOver(broker: ClientBroker, tenant: string): Client {
  const call = async <T>(verb: Verb, payload: unknown, schema: z.ZodType<T>): Promise<T> =>
    replyValue(await broker.request(tenant, verb, payload), schema);
  const keyOf = (runId: string) => {
    if (isTokenText(runId)) return { tenant, runId };
    throw new ReentryError(
      'INVALID_REQUEST',
      `run id ${JSON.stringify(runId)} must be 1 to 128 characters once encoded as a token`,
      {
        transient: false,
        problems: [{ path: 'runId', message: 'must be 1 to 128 characters once encoded as a token' }],
      },
    );
  };
  const disposed$ = new ReplaySubject<true>(1);
  /** Emits when nothing more can come: the client is disposed, or its connection is closed. A broken one reconnects. */
  const closed$ = merge(disposed$, broker.connected$.pipe(ignoreElements(), endWith(true as const))).pipe(take(1));
  const client: Client = {
    tenant,
    submitAll: (submissions, options) => submitAll((request, one) => client.submit(request, one), submissions, options),
    async retry(runId, { newRunId = uuidV7(), queue } = {}) {
      const payload = { runId, newRunId, ...(queue === undefined ? {} : { queue }) };
      const answer = await call('retry', payload, submitReplySchema);
      return { runId: newRunId, queue: answer.queue ?? queue ?? DEFAULT_QUEUE, duplicate: answer.duplicate ?? false };
    },
    submit: async (request, options = {}) => submit(broker, keyOf(options.runId ?? uuidV7()), request, options),
    waitFor: async (runId, { timeoutMs } = {}) =>
      completion(completed$(broker, keyOf(runId), closed$), runId, timeoutMs),
    events$: (runId) => defer(() => runEvents$(broker, keyOf(runId), closed$)),
    allEvents$: () => broker.events$({ tenant }).pipe(takeUntil(closed$)),
    async *logs(runId, options = {}) {
      const page = (payload: object) => call('logs', payload, logsReplySchema);
      const run = keyOf(runId);
      const end$ = completed$(broker, run, closed$);
      yield* readLines({ broker, run, completed$: end$, closed$, lookAgainMs: LOOK_AGAIN_MS, page }, options);
    },
    async cancel(runId, reason) {
      const answer = await call('cancel', { runId, ...(reason === undefined ? {} : { reason }) }, cancelReplySchema);
      return { phase: answer.phase };
    },
    result: (runId) => wholeResult((offset) => call('result', { runId, offset }, resultReplySchema), runId),
    status: (runId) => call('status', { runId }, runSummarySchema),
    async list(options = {}) {
      const { runs, next } = await call('list', options, listReplySchema);
      return { runs, next: next ?? undefined };
    },
    explain: (runId) => call('explain', { runId }, explainReplySchema),
    triggerers: ({ listenMs } = {}) => collectTriggerers(broker.heartbeats$, listenMs),
    render: (request, options = {}) => call('render', { request, ...options }, z.json()),
    [Symbol.asyncDispose]() {
      // First, so that waits end for this reason and not with the first call that fails.
      disposed$.next(true);
      return broker[Symbol.asyncDispose]();
    },
  };
  return client;
}

/** An inline result, or the parts of a result object put together. */
async function wholeResult(
  part: (offset: number) => Promise<z.infer<typeof resultReplySchema>>,
  runId: string,
): Promise<unknown> {
  const bytes: Buffer[] = [];
  for (let offset = 0; ;) {
    const reply = await part(offset);
    if (!('data' in reply)) return reply.result;
    bytes.push(Buffer.from(String(reply.data), 'base64'));
    if (typeof reply.next === 'number') {
      offset = reply.next;
      continue;
    }
    const whole = Buffer.concat(bytes);
    if (whole.byteLength === reply.size) return parsedJson(whole.toString('utf8'));
    throw new ReentryError('INTERNAL', `the result of ${runId} is incomplete`, { transient: true });
  }
}

/** Unchecked: a schema would walk through megabytes of what has just been parsed. */
function parsedJson(text: string): unknown {
  return JSON.parse(text);
}
