import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { filter, firstValueFrom, from, lastValueFrom, merge, map, mergeMap, of, Subject, takeUntil, tap } from 'rxjs';
import type { Client } from '../client/index.ts';
import type { Config } from '../config.ts';
import { installationSelector } from '../core/pod/labels.ts';
import { ReentryError } from '../errors.ts';
import type { CompletedData } from '../wire/events.ts';
import { openClient } from './connection.ts';
import { startRole } from './demo-processes.ts';
import type { RoleChild } from './demo-processes.ts';
import { DEMO_RUNS } from './demo-runs.ts';
import type { DemoRun } from './demo-runs.ts';
import { demoTable, demoView } from './demo-view.ts';
import type { DemoRow, DemoView } from './demo-view.ts';
import { EXIT_CODES, signalCode } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { startLocalParts } from './local-parts.ts';
import { connectionsOf } from '../process/connections.ts';
import { setUp } from './setup.ts';
import { action, declare } from './shell.ts';
import type { Finish, Invocation, Shell } from './shell.ts';

/** A run of the demo that takes longer counts as lost. */
const RUN_TIMEOUT_MS = 90_000;

/** `reentry demo`: shows the features on a temporary broker and cluster. */
export function demoCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'demo',
    summary:
      'run a demonstration on this machine: about thirty runs, with a worker and a triggerer killed in the middle',
    settings: ['natsServer'],
    examples: ['reentry demo', 'reentry demo --json | jq .seconds'],
  });
  return action(command, shell, finish, stoppable, 'drains');
}

/** Runs the demo. When stopped, exits with the signal's code whatever failed: Ctrl-C reaches its role processes too, perhaps earlier. */
async function stoppable(invocation: Invocation): Promise<ExitCode> {
  const { shell } = invocation;
  try {
    return await demo(invocation);
  } catch (error) {
    const stopped$ = merge(shell.stop$.pipe(map(signalCode)), of(undefined));
    const code = await firstValueFrom(stopped$, { defaultValue: undefined });
    if (code === undefined) throw error;
    shell.err('the demo was stopped');
    return code;
  }
}

async function demo({ shell, config, json }: Invocation): Promise<ExitCode> {
  const folder = await mkdtemp(join(tmpdir(), 'reentry-demo-'));
  const progress = (text: string): void => {
    if (!json) shell.err(text);
  };
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  progress('starting nats-server and a local cluster…');
  const parts = stack.use(
    await startLocalParts({
      ...{ config, env: shell.env, progress: () => undefined, cluster: undefined },
      cacheFolder: shell.userCache,
      natsFolder: join(folder, 'nats'),
      clusterFolder: join(folder, 'cluster'),
    }),
  );
  await setUp(parts.config);
  progress('starting two workers and two triggerers…');
  const started = await Promise.allSettled(
    (['worker', 'worker', 'triggerer', 'triggerer'] as const).map((role) => startRole(shell, role, parts.config)),
  );
  const children = started.flatMap((start) => (start.status === 'fulfilled' ? [stack.use(start.value)] : []));
  for (const start of started) if (start.status === 'rejected') throw start.reason;
  const [worker, , triggerer] = children;
  if (worker === undefined || triggerer === undefined)
    throw new ReentryError('INTERNAL', 'a role is missing', { transient: false });

  const client = stack.use(await openClient({ config: parts.config }));
  const beganAt = Date.now();
  const rows = await show({ shell, client, worker, triggerer, json, config: parts.config });
  if (typeof rows === 'number') {
    shell.err('the demo was stopped');
    return rows;
  }
  const seconds = (Date.now() - beganAt) / 1_000;
  const wrong = rows.filter((row) => row.wrong !== undefined).length;
  if (json) shell.out(JSON.stringify({ ok: wrong === 0, seconds, runs: rows }));
  else {
    shell.out(demoTable(shell, rows));
    const verdict = wrong === 0 ? 'every run ended as expected' : `${String(wrong)} did not end as expected`;
    shell.out(`${String(rows.length)} runs in ${seconds.toFixed(1)} s; ${verdict}.`);
  }
  return wrong === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
}

interface Stage {
  readonly shell: Shell;
  readonly client: Client;
  readonly worker: RoleChild;
  readonly triggerer: RoleChild;
  readonly json: boolean;
  readonly config: Config;
}

/** Rows of the result; where a signal came first, its exit code. */
async function show(stage: Stage): Promise<readonly DemoRow[] | ExitCode> {
  const { shell, client, json } = stage;
  const view = demoView(shell, DEMO_RUNS, json);
  const over$ = new Subject<void>();
  const stopped$ = shell.stop$.pipe(map(signalCode));
  const ends = new Map<string, number>();
  const resumes = new Map<string, number>();
  const watching = lastValueFrom(
    merge(podEnds$(stage.config, ends), events$(client, view, resumes)).pipe(takeUntil(over$)),
    {
      defaultValue: undefined,
    },
  );
  watching.catch(() => undefined); // handled below, where it is awaited
  const completions = new Map<string, Promise<CompletedData>>(
    DEMO_RUNS.map(({ runId }) => [runId, client.waitFor(runId, { timeoutMs: RUN_TIMEOUT_MS })]),
  );
  for (const promise of completions.values()) promise.catch(() => undefined); // shown in its row
  try {
    const acts$ = from(
      Promise.all([
        ...DEMO_RUNS.map(({ runId, request }) => client.submit(request, { runId })),
        cancelled(client, view),
        killed(stage, view),
      ]).then(() =>
        Promise.all(DEMO_RUNS.map(async (run) => rowOf(client, run, completions.get(run.runId), ends, resumes))),
      ),
    );
    return await firstValueFrom(merge(acts$, stopped$), { defaultValue: [] });
  } finally {
    over$.next();
    await watching;
    view.close();
  }
}

/** Records when each attempt's pod ended, from a watch of its own. */
function podEnds$(config: Config, ends: Map<string, number>) {
  const opening = Promise.all([import('../kubernetes/clusters.ts'), connectionsOf(config)]).then(
    ([{ openClusters }, connections]) => openClusters({ connections }),
  );
  return from(opening).pipe(
    mergeMap((clusters) =>
      clusters
        .get('default')
        .watchPods$({ namespace: undefined, labelSelector: installationSelector(config.installation) }),
    ),
    tap((signal) => {
      if (signal.kind !== 'pod') return;
      const { pod } = signal;
      const base = pod.containers.find(({ name }) => name === pod.baseContainer);
      const key = `${pod.runId ?? ''}/${String(pod.attempt ?? 1)}`;
      if (base?.state === 'terminated' && !ends.has(key)) ends.set(key, Date.now());
    }),
  );
}

function events$(client: Client, view: DemoView, resumes: Map<string, number>) {
  return client.allEvents$().pipe(
    tap(({ run, type, data }) => {
      // The last one counts; earlier ones are re-entries for logs.
      if (type === 'resumed') resumes.set(`${run.runId}/${String(data.attempt)}`, Date.now());
      view.event(run.runId, type === 'completed' && 'state' in data ? String(data.state) : type);
    }),
  );
}

function deferred(client: Client, runId: string): Promise<unknown> {
  return firstValueFrom(client.events$(runId).pipe(filter(({ type }) => type === 'deferred' || type === 'completed')), {
    defaultValue: undefined,
  });
}

async function cancelled(client: Client, view: DemoView): Promise<void> {
  await deferred(client, 'cancel');
  await client.cancel('cancel', 'part of the demo');
  view.note('requested the cancellation of run cancel');
}

async function killed({ client, worker, triggerer }: Stage, view: DemoView): Promise<void> {
  await Promise.all([deferred(client, 'worker-dies'), deferred(client, 'triggerer-dies')]);
  view.note(`kill -9 ${String(worker.pid)} (worker)`);
  await worker.kill();
  view.note(`kill -9 ${String(triggerer.pid)} (triggerer)`);
  await triggerer.kill();
}

async function rowOf(
  client: Client,
  { runId, shows, state, check, logLines }: DemoRun,
  completion: Promise<CompletedData> | undefined,
  ends: ReadonlyMap<string, number>,
  resumes: ReadonlyMap<string, number>,
): Promise<DemoRow> {
  let done: CompletedData | undefined;
  try {
    done = await completion;
  } catch (error) {
    if (!(error instanceof ReentryError)) throw error;
  }
  if (done === undefined) {
    return {
      runId,
      shows,
      state: 'lost',
      expected: state,
      attempt: 0,
      resumeMs: undefined,
      message: '',
      wrong: 'no completed event',
    };
  }
  const lines: string[] = [];
  if (logLines !== undefined) for await (const line of client.logs(runId)) lines.push(line.text);
  const wrong =
    done.state === state
      ? (check?.(done) ??
        (logLines === undefined || lines.length === logLines
          ? undefined
          : `${String(lines.length)} log lines instead of ${String(logLines)}`))
      : `instead of ${state}${done.diagnosis === undefined ? '' : `: ${done.diagnosis.code}`}`;
  // Both times are from this process's clock: the pod's end from its watch, the resumption from the event.
  const ended = ends.get(`${runId}/${String(done.attempt)}`);
  const resumed = resumes.get(`${runId}/${String(done.attempt)}`);
  const resumeMs = ended === undefined || resumed === undefined ? undefined : Math.max(0, resumed - ended);
  const message =
    done.diagnosis?.summary ?? (done.result === undefined ? (lines.at(-1) ?? '') : JSON.stringify(done.result));
  return { runId, shows, state: done.state, expected: state, attempt: done.attempt, resumeMs, message, wrong };
}
