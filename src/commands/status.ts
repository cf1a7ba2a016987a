import type { Command } from 'commander';
import type { Triggerers } from '../client/index.ts';
import { ReentryError } from '../errors.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor, type Paint, span, statusLines } from './paint.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry status`: the state of a run, or of the triggerers. */
export function statusCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'status',
    summary: 'show the state of a run, or with --triggerers of the triggerers and their watches',
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
      'show shards, watches and waiting runs of each triggerer; exit code 1 unless one is healthy and all shards are owned',
    );
  return action(command, shell, finish, async (invocation, options, args) => {
    const ofTriggerers = options['triggerers'] === true;
    if (ofTriggerers === args.length > 0)
      throw new ReentryError('CONFIG_INVALID', 'give a run id, or --triggerers', { transient: false });
    await using client = await openClient(invocation);
    const paint = paintFor(shell.colour);
    if (ofTriggerers) {
      const seen = await client.triggerers();
      shell.out(invocation.json ? JSON.stringify(seen) : triggererLines(paint, seen, Date.now()).join('\n'));
      const works = seen.triggerers.some(({ problems = [] }) => problems.length === 0) && seen.unowned.length === 0;
      return works ? EXIT_CODES.ok : EXIT_CODES.failed;
    }
    const run = await client.status(oneArgument(args));
    shell.out(invocation.json ? JSON.stringify(run) : statusLines(paint, run, Date.now()).join('\n'));
    return EXIT_CODES.ok;
  });
}

/** Each triggerer with its watches, then problems of all of them together. */
function triggererLines(paint: Paint, { triggerers, unowned, contested }: Triggerers, now: number): readonly string[] {
  if (triggerers.length === 0) return [paint.red('no triggerer is running: waiting runs do not continue')];
  return [
    ...triggerers.flatMap((one) => {
      const { replica, draining, shards, waiting = 0, since, watches = [], problems = [], loopDelayMs = 0 } = one;
      const state = draining
        ? paint.yellow('stopping')
        : problems.length === 0
          ? paint.green('healthy')
          : paint.red('unhealthy');
      const facts = [
        state,
        `${shards} shards`,
        // Every triggerer knows all subscriptions, whichever shards it owns.
        `${waiting} runs wait`,
        ...(since === undefined ? [] : [`up ${span(now - since)}`]),
        `loop delay ${span(loopDelayMs)}`,
        ...(one.stretched === undefined || one.stretched === 0 ? [] : [`${one.stretched} intervals stretched`]),
      ];
      return [
        `${paint.bold(replica)}  ${facts.join(', ')}`,
        ...watches.map(({ connection, namespace = '*', pods, ageMs, lagging }) => {
          const age = ageMs === undefined ? 'no event yet' : `last event ${span(ageMs)} ago`;
          return `  watch ${connection}/${namespace}: ${pods} pods, ${age}${lagging === undefined ? '' : paint.yellow(`, behind: ${lagging}`)}`;
        }),
        ...problems.map((problem) => `  ${paint.red('!')} ${problem}`),
      ];
    }),
    ...(unowned.length === 0 ? [] : [paint.red(`${unowned.length} of 256 shards have no owner`)]),
    ...(contested.length === 0 ? [] : [paint.yellow(`${contested.length} shards have two owners for the moment`)]),
  ];
}
