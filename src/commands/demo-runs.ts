/** The runs of the demo, and how each must end. */
import type { CompletedData } from '../wire/events.ts';
import type { FinalState } from '../wire/outcome.ts';
import type { RunRequestInput } from '../wire/run-request.ts';

/** One run of the demo. */
export interface DemoRun {
  readonly runId: string;
  /** What it shows. */
  readonly shows: string;
  readonly request: RunRequestInput;
  readonly state: FinalState;
  /** Further condition on its end; returns what is wrong. */
  readonly check?: (done: CompletedData) => string | undefined;
  /** Expected number of log lines. */
  readonly logLines?: number;
}

const sh = (script: string, params: RunRequestInput['params'] = {}): RunRequestInput => ({
  params: { image: 'alpine', name: 'demo', cmds: ['sh', '-c'], arguments: [script], ...params },
});
const diagnosed = (code: string) => (done: CompletedData) =>
  done.diagnosis?.code === code ? undefined : `diagnosis ${done.diagnosis?.code ?? 'absent'} instead of ${code}`;

/** Runs submitted at once. */
const CROWD = 20;

/** All runs of the demo. `worker-dies` and `triggerer-dies` are waiting when a process is killed. */
export const DEMO_RUNS: readonly DemoRun[] = [
  {
    runId: 'logs',
    shows: 'log lines are stored in order',
    request: sh('for i in 1 2 3 4 5; do echo "step $i of 5"; sleep 0.2; done'),
    state: 'succeeded',
    logLines: 5,
  },
  {
    runId: 'result',
    shows: 'a result from the termination message',
    request: sh('echo \'{"rows": 42}\' > /dev/termination-log', { doXcomPush: true, xcomMode: 'message' }),
    state: 'succeeded',
    check: ({ result }) => (JSON.stringify(result) === '{"rows":42}' ? undefined : `result ${JSON.stringify(result)}`),
  },
  {
    runId: 'user-error',
    shows: 'a failure of the program, with its diagnosis',
    request: sh('echo "no such table: sales" >&2; exit 3'),
    state: 'failed',
    check: (done) => (done.exitCode === 3 ? diagnosed('CONTAINER_FAILED')(done) : `exit code ${String(done.exitCode)}`),
  },
  {
    runId: 'retry',
    shows: 'a second attempt after a failure',
    request: {
      ...sh('echo "attempt $ATTEMPT"; test "$ATTEMPT" -gt 1', {
        envVars: [{ name: 'ATTEMPT', valueFrom: { fieldRef: { fieldPath: "metadata.labels['try_number']" } } }],
      }),
      retries: 2,
      retryDelaySeconds: 1,
    },
    state: 'succeeded',
    check: ({ attempt }) => (attempt === 2 ? undefined : `attempt ${String(attempt)}`),
  },
  {
    runId: 'no-image',
    shows: 'a pod that cannot start',
    request: sh('true', { image: 'missing/image:1', startupTimeoutSeconds: 5 }),
    state: 'failed',
    check: diagnosed('IMAGE_PULL_FAILED'),
  },
  {
    runId: 'too-long',
    shows: 'an execution time-out of 3 s',
    request: { ...sh('sleep 300', { terminationGracePeriod: 1 }), executionTimeoutSeconds: 3 },
    state: 'failed',
    check: diagnosed('EXECUTION_TIMEOUT'),
  },
  {
    runId: 'cancel',
    shows: 'a cancel, reported once the pod is gone',
    request: sh('sleep 300', { terminationGracePeriod: 1 }),
    state: 'cancelled',
  },
  {
    runId: 'skip',
    shows: 'an exit code that means "skipped"',
    request: sh('exit 99', { skipOnExitCode: 99 }),
    state: 'skipped',
  },
  {
    runId: 'worker-dies',
    shows: 'its worker is killed with -9; another resumes it',
    request: sh('echo before; sleep 5; echo after'),
    state: 'succeeded',
    logLines: 2,
  },
  {
    runId: 'triggerer-dies',
    shows: 'a triggerer is killed with -9; another takes over',
    request: sh('sleep 5; echo seen'),
    state: 'succeeded',
    logLines: 1,
  },
  ...Array.from({ length: CROWD }, (_, index) => ({
    runId: `crowd-${String(index + 1).padStart(2, '0')}`,
    shows: `one of ${String(CROWD)} at once`,
    request: sh('sleep 1; echo done'),
    state: 'succeeded' as const,
  })),
];
