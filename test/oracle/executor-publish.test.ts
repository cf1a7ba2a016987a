import { z } from 'zod';
import { isRecord, recordIn, textIn } from '../../src/core/json.ts';
import { retryAfterSeconds } from '../../src/kubernetes/retry-after.ts';
import { type CreationFailure, creationRetry } from '../../src/operator/creation-failure.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

/** Exceptions of Python's libraries and of the operating system that mean a broken connection. */
const CONNECTION = /^(urllib3\.|aiohttp\.|Connection|TimeoutError|BrokenPipe|OSError|socket\.|gaierror)/;
const POD = /^Pod(MutationHookException|ReconciliationError)$/;

/** The message of a refusal as the adapter takes it from its body: the `message` of a Status, else the text itself, else the status line's reason. */
function messageIn(body: string | undefined, reason: string): string {
  if (body === undefined || body === '') return reason;
  try {
    const parsed: unknown = JSON.parse(body);
    return isRecord(parsed) && typeof parsed['message'] === 'string' ? parsed['message'] : body;
  } catch {
    return body;
  }
}

function failureOf({ input }: OracleCase): CreationFailure {
  const exception = textIn(input, 'exception') ?? '';
  if (POD.test(exception)) return { kind: 'pod' };
  if (CONNECTION.test(exception)) return { kind: 'connection' };
  if (exception !== 'ApiException') return { kind: 'other' };
  return {
    kind: 'api',
    status: typeof input['status'] === 'number' ? input['status'] : undefined,
    message: messageIn(textIn(input, 'body'), textIn(input, 'reason') ?? ''),
    retryAfterSeconds: retryAfterSeconds(textIn(recordIn(input, 'headers'), 'Retry-After'), Date.UTC(2024, 0, 2, 12)),
  };
}

function answer(theCase: OracleCase): unknown {
  const { input } = theCase;
  const decision = creationRetry(failureOf(theCase), {
    retries: Number(input['retries_so_far']),
    maxRetries: Number(input['task_publish_max_retries']),
  });
  return decision.kind === 'fail'
    ? { calls: ['fail'], create_pods_after_seconds: null, retries: null, stop_batch: false }
    : {
        calls: ['requeue'],
        create_pods_after_seconds: decision.createAfterSeconds ?? null,
        retries: decision.retries,
        stop_batch: decision.stopBatch,
      };
}

const exceptionOf = ({ input }: OracleCase): string => textIn(input, 'exception') ?? '';

compareWithOracle(
  'executor-state',
  {
    only: ({ input }) => input['function'] === '_handle_pod_publish_error',
    answer,
    // Only whether the task fails is compared, not with which exception.
    theirs: (output) => {
      const calls = recordIn({ output }, 'output')['calls'];
      const verbs = z
        .array(z.tuple([z.string()], z.unknown()))
        .parse(calls)
        .map(([verb]) => verb);
      return { ...recordIn({ output }, 'output'), calls: verbs };
    },
    rules: [
      {
        reason: 'a connection reset or time-out of the system is as transient as an error of the HTTP library',
        when: (theCase) => CONNECTION.test(exceptionOf(theCase)) && !/^(urllib3|aiohttp)\./.test(exceptionOf(theCase)),
        instead: (theirs, { input }) => {
          const [retries, most] = [Number(input['retries_so_far']), Number(input['task_publish_max_retries'])];
          return most === -1 || retries < most
            ? {
                output: {
                  calls: ['requeue'],
                  create_pods_after_seconds: null,
                  retries: retries + 1,
                  stop_batch: false,
                },
              }
            : theirs;
        },
      },
      {
        reason: 'a failed task leaves no retry count behind',
        when: ({ theirs }) =>
          'output' in theirs &&
          JSON.stringify(recordIn(theirs, 'output')['calls']).includes('fail') &&
          recordIn(theirs, 'output')['retries'] !== null,
        instead: (theirs) => ({ output: { ...recordIn(theirs, 'output'), calls: ['fail'], retries: null } }),
      },
      {
        reason: 'a Retry-After that is neither a number of seconds nor a date is ignored',
        when: ({ input }) => /^[+-]|_|^\s|\s$/.test(textIn(recordIn(input, 'headers'), 'Retry-After') ?? ''),
        instead: (theirs, theCase) => {
          const seconds = failureOf(theCase);
          const asked = seconds.kind === 'api' ? seconds.retryAfterSeconds : undefined;
          const after = theCase.input['status'] === 429 ? (asked ?? 0) : (asked ?? null);
          const output = recordIn(theirs, 'output');
          const requeued = JSON.stringify(output['calls']).includes('requeue');
          return {
            output: {
              ...output,
              calls: [requeued ? 'requeue' : 'fail'],
              create_pods_after_seconds: requeued ? after : null,
              stop_batch: requeued && after !== null,
            },
          };
        },
      },
    ],
  },
  'publish',
);
