/** What users do with runs: ask for them, wait for them, read them. Needs a client's NATS permissions only. */
import {
  concat,
  concatMap,
  defer,
  distinct,
  endWith,
  filter,
  firstValueFrom,
  from,
  identity,
  ignoreElements,
  interval,
  map,
  merge,
  mergeMap,
  of,
  ReplaySubject,
  startWith,
  take,
  takeUntil,
  takeWhile,
  throwError,
  timeout,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { v7 as uuidV7 } from 'uuid';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { ClientBroker, StoredEvent } from '../ports/client.ts';
import { completedDataSchema } from '../wire/events.ts';
import type { CompletedData } from '../wire/events.ts';
import type { RunRequestInput } from '../wire/run-request.ts';
import type { Phase } from '../wire/run-state.ts';
import { EVENT_TYPES } from '../wire/subjects.ts';
import type { Verb } from '../wire/subjects.ts';
import { DEFAULT_QUEUE, isTokenText, queueOf } from '../wire/tokens.ts';
import { submitAll } from './submission.ts';
import { readLines } from './log-reading.ts';
import type { LogText } from './log-lines.ts';
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
import { collectTriggerers } from './triggerers.ts';
import type { Triggerers } from './triggerers.ts';

/** How often a waiting client looks for an event that a broken connection may have cost it, in milliseconds. */
const LOOK_AGAIN_MS = 5_000;

/** How a run is asked for. */
export interface SubmitOptions {
  /** The client's idempotency key; a UUIDv7 is made where it is absent. */
  readonly runId?: string;
  /** Default: `executor` for operator `command`, else `default`. */
  readonly queue?: string;
  /** `false`: publish without asking a worker to check the request first; problems then arrive as a failed run. Default true. */
  readonly checked?: boolean;
}

/** A run that was asked for: JetStream has it. */
export interface Receipt {
  readonly runId: string;
  readonly queue: string;
  /** The run had been asked for before, with the same id. */
  readonly duplicate: boolean;
}

/** One of many runs to be asked for. */
export interface RunSubmission {
  readonly request: RunRequestInput;
  readonly runId?: string;
  readonly queue?: string;
}

/** Outcome of one submission: a receipt, or why it was refused. `index`: position in the input, from 0. */
export type SubmissionResult =
  { readonly index: number; readonly receipt: Receipt } | { readonly index: number; readonly error: ReentryError };

export interface LogOptions {
  /** Go on until the run has completed. Default false. */
  readonly follow?: boolean;
  readonly attempt?: number;
  readonly container?: string;
}

/** A connection for one tenant. Disposing it ends all that waits on it, and leaves nothing that keeps the process alive. */
export interface Client extends AsyncDisposable {
  readonly tenant: string;
  /**
   * Asks for a run. Safe to repeat with the same `runId`.
   * @throws ReentryError INVALID_REQUEST with all problems, RUN_ID_TAKEN, NOT_FOUND for an unknown queue, TOO_LARGE, BUSY, NATS_UNAVAILABLE
   */
  submit(request: RunRequestInput, options?: SubmitOptions): Promise<Receipt>;
  /**
   * Asks for many runs, `concurrency` at a time, and says of each what became of it, in the order they were taken. Safe to repeat
   * for submissions with a `runId`. A refused submission is a result with `error`; a failure that would meet all others too (no broker) is thrown.
   */
  submitAll(
    submissions: Iterable<RunSubmission> | AsyncIterable<RunSubmission>,
    options?: { readonly concurrency?: number; readonly checked?: boolean },
  ): AsyncIterable<SubmissionResult>;
  /**
   * Asks for an ended run again: a new run with the same request, whose `parentRunId` is `runId`. Safe to repeat with the same `newRunId`.
   * @throws ReentryError NOT_FOUND, INVALID_REQUEST while it has not ended
   */
  retry(runId: string, options?: { readonly newRunId?: string; readonly queue?: string }): Promise<Receipt>;
  /**
   * Waits for the run's `completed` event, through reconnections.
   * @throws ReentryError TIMEOUT after `timeoutMs`, where given; NATS_UNAVAILABLE once the client is closed
   */
  waitFor(runId: string, options?: { readonly timeoutMs?: number }): Promise<CompletedData>;
  /** Lifecycle events of a run: the stored ones, then new ones, each once; completes after `completed`, and when the client is closed. */
  events$(runId: string): Observable<StoredEvent>;
  /** Lifecycle events of all runs of the tenant, from now on. Completes when the client is closed; a feed that misses nothing is made by `reentry setup --subscriber`. */
  allEvents$(): Observable<StoredEvent>;
  /** Stored log lines in order, and with `follow` those to come, until the run has completed or the client is closed. */
  logs(runId: string, options?: LogOptions): AsyncIterable<LogText>;
  /** Asks for the run's end. Answers its phase; the run is over when its `completed` event says so. */
  cancel(runId: string, reason?: string): Promise<{ readonly phase: Phase | undefined }>;
  /** The result of a run that has ended. @throws ReentryError NOT_FOUND when there is no such run, or it has no result */
  result(runId: string): Promise<unknown>;
  status(runId: string): Promise<RunStatus>;
  list(options?: { readonly after?: number; readonly limit?: number; readonly phase?: Phase }): Promise<RunPage>;
  /** Why a run failed, waits or was cancelled. */
  explain(runId: string): Promise<Explanation>;
  /**
   * The triggerers that live, as their heartbeats say; resolves after `listenMs` (default 1,300: two beats and a little).
   * @throws ReentryError FORBIDDEN with a tenant's credentials: this is the operator's to see
   */
  triggerers(options?: { readonly listenMs?: number }): Promise<Triggerers>;
  /** The pod that a request would make, env values redacted; nothing is created. */
  render(request: RunRequestInput, options?: { readonly server?: boolean }): Promise<unknown>;
}

/** A client of one tenant over an open connection, which it closes when it is disposed. */
export function clientOver(broker: ClientBroker, tenant: string): Client {
  const ask = async <T>(verb: Verb, payload: unknown, schema: z.ZodType<T>): Promise<T> =>
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
  /** Emits when nothing more can come: the client is disposed, or its connection closed for good. One that breaks comes again. */
  const closed$ = merge(disposed$, broker.connected$.pipe(ignoreElements(), endWith(true as const))).pipe(take(1));
  /** Emits at once, at each reconnection and now and then: moments to look for what may have been missed. */
  const look$ = merge(broker.connected$.pipe(filter(Boolean)), interval(LOOK_AGAIN_MS).pipe(startWith(0)));

  const completed$ = (runId: string): Observable<CompletedData> => {
    const run = keyOf(runId);
    const live$ = broker.events$(run).pipe(filter(({ type }) => type === 'completed'));
    const stored$ = look$.pipe(
      // One look at a time; a failed one is made good by the next.
      concatMap(() => broker.lastEvent(run, 'completed').catch(() => undefined)),
      filter((event) => event !== undefined),
    );
    return merge(live$, stored$).pipe(
      take(1),
      map(({ data }) => completedDataSchema.parse(data)),
      takeUntil(closed$),
    );
  };

  const client: Client = {
    tenant,
    submitAll: (submissions, options) => submitAll(client, submissions, options),
    async retry(runId, { newRunId = uuidV7(), queue } = {}) {
      const asked = { runId, newRunId, ...(queue === undefined ? {} : { queue }) };
      const answer = await ask('retry', asked, submitReplySchema);
      return { runId: newRunId, queue: answer.queue ?? queue ?? DEFAULT_QUEUE, duplicate: answer.duplicate ?? false };
    },
    async submit(request, options = {}) {
      const runId = options.runId ?? uuidV7();
      const queue = options.queue ?? queueOf(request.operator);
      const run = keyOf(runId);
      if (options.checked !== false) {
        const reply = await broker.request(tenant, 'submit', { runId, queue, request }).catch((error: unknown) => {
          // Nobody there to check it: the stream takes it all the same, and the run id makes asking twice harmless.
          if (error instanceof ReentryError && (error.code === 'UNREACHABLE' || error.code === 'TIMEOUT'))
            return undefined;
          throw error;
        });
        if (reply !== undefined) {
          const answer = replyValue(reply, submitReplySchema);
          return { runId: answer.runId ?? runId, queue: answer.queue ?? queue, duplicate: answer.duplicate ?? false };
        }
      }
      const data = new TextEncoder().encode(JSON.stringify(request));
      const { duplicate } = await broker.publishRun(queue, run, data, `${tenant}/${runId}`);
      return { runId, queue, duplicate };
    },
    async waitFor(runId, { timeoutMs } = {}) {
      const late = new ReentryError('TIMEOUT', `run ${runId} has not completed within ${String(timeoutMs)} ms`, {
        transient: true,
      });
      const limited$ = completed$(runId).pipe(
        timeoutMs === undefined ? identity : timeout({ first: timeoutMs, with: () => throwError(() => late) }),
      );
      const done = await firstValueFrom(limited$, { defaultValue: undefined });
      if (done !== undefined) return done;
      throw new ReentryError('NATS_UNAVAILABLE', `the connection was closed while waiting for run ${runId}`, {
        transient: true,
      });
    },
    events$: (runId) =>
      defer(() => {
        const run = keyOf(runId);
        const history$ = from(EVENT_TYPES).pipe(
          mergeMap((type) => broker.lastEvent(run, type).catch(() => undefined), 1),
          filter((event) => event !== undefined),
        );
        return merge(broker.events$(run), look$.pipe(concatMap(() => history$))).pipe(
          // The last event may overtake what was said before this began.
          concatMap((event) => (event.type === 'completed' ? concat(history$, of(event)) : of(event))),
          distinct(({ id }) => id), // lives as long as the run's events: a few dozen ids
          takeWhile(({ type }) => type !== 'completed', true),
          takeUntil(closed$),
        );
      }),
    allEvents$: () => broker.events$({ tenant }).pipe(takeUntil(closed$)),
    async *logs(runId, options = {}) {
      const page = (payload: object) => ask('logs', payload, logsReplySchema);
      const run = keyOf(runId);
      const origin = { broker, run, completed$: completed$(runId), closed$, lookAgainMs: LOOK_AGAIN_MS, page };
      yield* readLines(origin, options);
    },
    async cancel(runId, reason) {
      const answer = await ask('cancel', { runId, ...(reason === undefined ? {} : { reason }) }, cancelReplySchema);
      return { phase: answer.phase };
    },
    result: (runId) => wholeResult((offset) => ask('result', { runId, offset }, resultReplySchema), runId),
    status: (runId) => ask('status', { runId }, runSummarySchema),
    async list(options = {}) {
      const { runs, next } = await ask('list', options, listReplySchema);
      return { runs, next: next ?? undefined };
    },
    explain: (runId) => ask('explain', { runId }, explainReplySchema),
    triggerers: ({ listenMs } = {}) => collectTriggerers(broker.heartbeats$, listenMs),
    render: (request, options = {}) => ask('render', { request, ...options }, z.json()),
    [Symbol.asyncDispose]() {
      // First, so that what waits ends for this reason, and not with the first call that fails.
      disposed$.next(true);
      return broker[Symbol.asyncDispose]();
    },
  };
  return client;
}

/** An inline result, or an object's parts put together. */
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
    throw new ReentryError('INTERNAL', `the result of ${runId} came incomplete`, { transient: true });
  }
}

/** A schema would walk through megabytes of what has just been parsed. */
function parsedJson(text: string): unknown {
  return JSON.parse(text);
}
