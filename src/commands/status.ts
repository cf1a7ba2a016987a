import type { Command } from 'commander';
import type { Triggerers } from '../client/index.ts';
import { ReentryError } from '../errors.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor, type Paint, span, statusLines } from './paint.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry status`: what a run does now, or how the triggerers are. */
export function statusCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'status',
    summary: 'say what a run does now; with --triggerers: who watches the pods, and how they are',
    settings: CLIENT_SETTINGS,
    examples: [
      'reentry status nightly-1',
      'reentry status nightly-1 --json | jq .phase',
      'reentry status --triggerers',
      "reentry status --triggerers --json | jq '.unowned | length'",
    ],
  })
    .argument('[run]', 'run id')
    .option(
      '--triggerers',
      'say who owns what, how old each watch is, how many runs wait; exit code 1 where nobody watches',
    );
  return action(command, shell, finish, async (invocation, options, args) => {
    const ofTriggerers = options['triggerers'] === true;
    if (ofTriggerers === args.length > 0)
      throw new ReentryError('CONFIG_INVALID', 'name a run, or ask for --triggerers', { transient: false });
    await using client = await openClient(invocation);
    const paint = paintFor(shell.colour);
    if (ofTriggerers) {
      const heard = await client.triggerers();
      shell.out(invocation.json ? JSON.stringify(heard) : triggererLines(paint, heard, Date.now()).join('\n'));
      const works = heard.triggerers.some(({ problems = [] }) => problems.length === 0) && heard.unowned.length === 0;
      return works ? EXIT_CODES.ok : EXIT_CODES.failed;
    }
    const run = await client.status(oneArgument(args));
    shell.out(invocation.json ? JSON.stringify(run) : statusLines(paint, run, Date.now()).join('\n'));
    return EXIT_CODES.ok;
  });
}

/** Each triggerer with its watches, then what is wrong with all of them together. */
function triggererLines(paint: Paint, { triggerers, unowned, contested }: Triggerers, now: number): readonly string[] {
  if (triggerers.length === 0) return [paint.red('no triggerer is heard: nothing that waits goes on')];
  return [
    ...triggerers.flatMap((one) => {
      const { replica, draining, shards, waiting = 0, since, watches = [], problems = [], loopDelayMs = 0 } = one;
      const state = draining ? paint.yellow('leaves') : problems.length === 0 ? paint.green('works') : paint.red('ill');
      const facts = [
        state,
        `${shards} shards`,
        // Each knows all subscriptions, whichever shards it acts on.
        `${waiting} runs wait`,
        ...(since === undefined ? [] : [`up ${span(now - since)}`]),
        `loop delay ${span(loopDelayMs)}`,
        ...(one.stretched === undefined || one.stretched === 0 ? [] : [`${one.stretched} intervals stretched`]),
      ];
      return [
        `${paint.bold(replica)}  ${facts.join(', ')}`,
        ...watches.map(({ connection, namespace = '*', pods, ageMs, lagging }) => {
          const heard = ageMs === undefined ? 'not heard yet' : `heard ${span(ageMs)} ago`;
          return `  watch ${connection}/${namespace}: ${pods} pods, ${heard}${lagging === undefined ? '' : paint.yellow(`, behind: ${lagging}`)}`;
        }),
        ...problems.map((problem) => `  ${paint.red('!')} ${problem}`),
      ];
    }),
    ...(unowned.length === 0 ? [] : [paint.red(`nobody acts on ${unowned.length} of 256 shards`)]),
    ...(contested.length === 0 ? [] : [paint.yellow(`two act on ${contested.length} shards, for a moment`)]),
  ];
}
