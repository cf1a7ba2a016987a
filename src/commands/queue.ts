import { setTimeout as pause } from 'node:timers/promises';
import Table from 'cli-table3';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { ReentryError } from '../errors.ts';
import type { Operations } from '../ports/operations.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import { openInstallation } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor, plain, span } from './paint.ts';
import { action, declare, family, NATS_SETTINGS, oneArgument, parseSeconds } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const POLL_MS = 500;
/** Interval of progress lines of a drain while nothing changes. */
const PROGRESS_EVERY_MS = 10_000;

/** `reentry queue`: pauses of queues. Needs the NATS user of `setup`. */
export function queueCommand(shell: Shell, finish: Finish): Command {
  const summary = 'list queues; pause, resume or drain one';
  return family('queue', summary, [
    listCommand(shell, finish),
    gateCommand(shell, finish, 'pause', 'accept requests but start no runs; running ones continue', true),
    gateCommand(shell, finish, 'resume', 'start runs again, in the order of the queue', false),
    drainCommand(shell, finish),
  ]);
}

/** One queue. */
interface QueueView {
  readonly queue: string;
  readonly kind: string;
  readonly paused: boolean;
  readonly pausedAt?: string;
  readonly reason?: string;
  /** Requests not accepted yet. */
  readonly requests: number;
  /** Runs ready to start that wait for their turn. */
  readonly waiting: number;
  /** Runs that wait for a time. */
  readonly delayed: number;
  /** Runs with a pod. */
  readonly running: number;
  /** Step messages, delivered to a worker or waiting for one. */
  readonly steps: number;
}

async function viewOf(installation: Operations): Promise<readonly QueueView[]> {
  const [lanes, loads] = await Promise.all([installation.queues(), installation.queries.queues()]);
  if (loads === undefined)
    throw new ReentryError('UNREACHABLE', 'no triggerer answers; start one with `reentry triggerer`', {
      transient: true,
    });
  return Promise.all(
    lanes.map(async ({ queue, kind, requests, steps }): Promise<QueueView> => {
      // Read from the leader: a triggerer may not have received the change yet.
      const record = (await installation.gates.queue(queue))?.value;
      const { waiting = 0, delayed = 0, running = 0 } = loads.find((load) => load.queue === queue) ?? {};
      return {
        ...{ queue, kind, paused: record?.paused === true },
        ...(record?.paused === true ? { pausedAt: new Date(record.at).toISOString() } : {}),
        ...(record?.reason === undefined ? {} : { reason: record.reason }),
        ...{ requests, waiting, delayed, running, steps: steps.ctl + steps.resume + steps.start },
      };
    }),
  );
}

function listCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'list',
    summary: 'list queues: whether each is paused, what waits and what runs',
    settings: NATS_SETTINGS,
    examples: ['reentry queue list', "reentry queue list --json | jq '.queues[] | select(.paused)'"],
  });
  return action(command, shell, finish, async (invocation) => {
    await using installation = await openInstallation(invocation);
    const queues = await viewOf(installation);
    if (invocation.json) {
      shell.out(JSON.stringify({ queues }));
      return EXIT_CODES.ok;
    }
    const paint = paintFor(shell.colour);
    const head = ['queue', 'served by', 'gate', 'requests', 'waiting', 'delayed', 'running', 'steps'];
    const table = new Table({ head, style: { head: [], border: [], compact: true } });
    for (const { queue, kind, paused, pausedAt, reason, requests, waiting, delayed, running, steps } of queues) {
      const since = pausedAt === undefined ? '' : ` for ${span(Date.now() - Date.parse(pausedAt))}`;
      const gate = paused ? paint.yellow(`paused${since}${reason === undefined ? '' : `: ${plain(reason)}`}`) : 'open';
      table.push([queue, `${kind}s`, gate, ...[requests, waiting, delayed, running, steps].map(String)]);
    }
    shell.out(table.toString());
    return EXIT_CODES.ok;
  });
}

/** Pauses or resumes a queue; returns whether that changed its state, or only the reason. @throws ReentryError NOT_FOUND for an unknown queue */
async function setGate(
  installation: Operations,
  queue: string,
  paused: boolean,
  reason: string | undefined,
): Promise<boolean | 'reason'> {
  const known = (await installation.queues()).map((lanes) => lanes.queue);
  if (!known.includes(queue)) {
    const near = nearest(queue, known);
    const hint = near === undefined ? `queues are: ${known.join(', ')}` : `did you mean ${near}?`;
    throw new ReentryError('NOT_FOUND', `there is no queue ${queue}; ${hint}`, { transient: false });
  }
  for (;;) {
    const present = await installation.gates.queue(queue);
    const was = present?.value;
    const already = (was?.paused === true) === paused;
    if (already && (!paused || reason === undefined || reason === was?.reason)) return false;
    const why = reason === undefined ? {} : { reason };
    // A new reason does not restart the time of the pause.
    const at = already ? (was?.at ?? Date.now()) : Date.now();
    const record = paused ? { v: WIRE_VERSION, paused, at, ...why } : undefined;
    if (await installation.gates.setQueue(queue, record, present?.revision ?? 0)) return already ? 'reason' : true;
  }
}

/** Longest reason, in characters. */
const MAX_REASON_LENGTH = 200;
const reasonOption = z.looseObject({ reason: z.string().optional() });

/** Parser of the reason of a pause; a longer one is a usage error. */
function shortText(value: string): string {
  if (value.length <= MAX_REASON_LENGTH) return value;
  throw new InvalidArgumentError(`It may have at most ${String(MAX_REASON_LENGTH)} characters.`);
}

function gateCommand(shell: Shell, finish: Finish, name: string, summary: string, paused: boolean): Command {
  const command = declare({
    ...{ name, summary, settings: NATS_SETTINGS },
    examples: [
      `reentry queue ${name} default`,
      ...(paused ? ['reentry queue pause gpu --reason "driver update"'] : []),
    ],
  }).argument('<queue>', 'queue name');
  if (paused) command.option('--reason <TEXT>', 'shown by status and explain for waiting runs', shortText);
  return action(command, shell, finish, async (invocation, options, args) => {
    const queue = oneArgument(args);
    await using installation = await openInstallation(invocation);
    const changed = await setGate(installation, queue, paused, reasonOption.parse(options).reason);
    const now = paused ? 'paused' : 'open';
    shell.out(
      invocation.json
        ? JSON.stringify({ queue, paused, changed: changed !== false })
        : plain(
            `${queue}: ${changed === true ? now : `was already ${now}`}${changed === 'reason' ? ', with another reason' : ''}`,
          ),
    );
    return EXIT_CODES.ok;
  });
}

const drainOptions = reasonOption.extend({ timeout: z.number().optional() });

function drainCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'drain',
    summary: 'pause a queue and wait until none of its runs has a pod; it stays paused',
    settings: NATS_SETTINGS,
    examples: ['reentry queue drain default', 'reentry queue drain gpu --timeout 600 && reentry queue resume gpu'],
  })
    .argument('<queue>', 'queue name')
    .option('--reason <TEXT>', 'shown by status and explain for waiting runs', shortText)
    .option('--timeout <SECONDS>', 'give up after this time with exit code 1; the queue stays paused', parseSeconds);
  return action(command, shell, finish, async (invocation, options, args) => {
    const { reason, timeout } = drainOptions.parse(options);
    const queue = oneArgument(args);
    await using installation = await openInstallation(invocation);
    await setGate(installation, queue, true, reason);
    const endsAt = timeout === undefined ? Infinity : performance.now() + timeout * 1_000;
    let quiet = 0;
    let shown = { running: -1, steps: -1, at: -Infinity };
    for (;;) {
      const view = (await viewOf(installation)).find((one) => one.queue === queue);
      const { running = 0, steps = 0, waiting = 0 } = view ?? {};
      quiet = running === 0 && steps === 0 ? quiet + 1 : 0;
      // Between a worker's step and a triggerer's subscription a run is briefly in neither count, so ask twice.
      const drained = quiet > 1;
      const now = performance.now();
      if (drained) {
        shell.out(
          invocation.json
            ? JSON.stringify({ queue, drained, running, waiting })
            : `${queue}: drained, ${String(waiting)} waiting`,
        );
        return EXIT_CODES.ok;
      }
      if (shown.running !== running || shown.steps !== steps || now - shown.at > PROGRESS_EVERY_MS) {
        shown = { running, steps, at: now };
        shell.err(
          invocation.json
            ? JSON.stringify({ queue, drained, running, steps, waiting })
            : `${queue}: ${String(running)} running, ${String(steps)} steps in progress`,
        );
      }
      if (now > endsAt) {
        shell.out(
          invocation.json
            ? JSON.stringify({ queue, drained, running, waiting })
            : `${queue}: not drained, ${String(running)} running`,
        );
        return EXIT_CODES.failed;
      }
      await pause(POLL_MS);
    }
  });
}
