import { setTimeout as pause } from 'node:timers/promises';
import { Option } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { Config } from '../config.ts';
import type { Subscriber } from '../wire/streams.ts';
import { natsOptions } from '../process/connections.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { ROLES } from '../process/roles.ts';
import { streamSettings } from '../process/settings.ts';
import type { Role } from '../process/roles.ts';
import { action, declare, NATS_SETTINGS } from './shell.ts';
import type { Finish, Invocation, Shell } from './shell.ts';

const texts = z.array(z.string()).default([]);
const optionsSchema = z.looseObject({
  subscriber: texts,
  executorQueue: z.array(z.string()).optional(),
  permissions: z.boolean().default(false),
  client: texts,
  serve: z.array(z.enum(ROLES)).default([]),
});
const collect = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

/** A cluster of brokers that has just started, or lost a member, takes this long at most to elect its leaders, in milliseconds. */
const ELECTED_WITHIN_MS = 60_000;
const AGAIN_AFTER_MS = 500;

/** Makes the broker match the table of streams. Idempotent; the command, `dev` and `demo` call it. */
export async function setUp(
  config: Config,
  more: { readonly subscribers?: readonly Subscriber[]; readonly executorQueues?: readonly string[] } = {},
) {
  const [{ connectNats }, { layoutFrom }, { setup }] = await Promise.all([
    import('../nats/connection.ts'),
    import('../nats/link.ts'),
    import('../nats/setup.ts'),
  ]);
  const options = natsOptions(config);
  await using connection = await connectNats({
    ...options,
    name: `reentry-setup-${String(process.pid)}`,
    role: 'setup',
  });
  const settings = { ...streamSettings(config), ...more };
  const giveUpAt = Date.now() + ELECTED_WITHIN_MS;
  for (;;) {
    try {
      return await setup(connection.nc, layoutFrom(options), settings);
    } catch (error) {
      // It is idempotent: what was made stays, the rest is made now.
      if (!(error instanceof ReentryError) || !error.transient || Date.now() > giveUpAt) throw error;
      await pause(AGAIN_AFTER_MS);
    }
  }
}

/** `reentry setup`: streams, buckets, consumers and durable feeds. */
export function setupCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'setup',
    summary: 'make the streams, buckets and consumers that reentry needs; safe to repeat',
    settings: [
      ...NATS_SETTINGS,
      'queues',
      'executorQueues',
      'replicas',
      'storageBytes',
      'runRetentionDays',
      'logRetentionDays',
    ],
    examples: [
      'reentry setup',
      'reentry setup --queues default,gpu --replicas 3',
      'reentry setup --executor-queues executor,nightly   # queues that executors serve',
      'reentry setup --subscriber default/billing    # a durable feed of completed events',
      'reentry setup --permissions --client sales --client ops > reentry-users.conf    # for nats-server',
      'reentry setup --permissions --serve worker triggerer    # one user for `reentry serve`, in the place of its roles’ own',
    ],
  })
    .option('--subscriber <TENANT/NAME>', "durable feed of a tenant's completed events; repeatable", collect)
    .option('--executor-queue <QUEUE>', 'the same as --executor-queues, one by one', collect)
    .option('--permissions', 'only print the users and permissions that nats-server must know, one for each role')
    .addOption(
      new Option('--serve <ROLE...>', 'with --permissions: one user for a process that has these roles').choices([
        ...ROLES,
      ]),
    )
    .option('--client <TENANT>', 'with --permissions: a user for the clients of this tenant; repeatable', collect);
  return action(command, shell, finish, async (invocation, options) => {
    const { subscriber, executorQueue, permissions, client, serve } = optionsSchema.parse(options);
    if (permissions) {
      const feeds = subscriber.map(subscriberOf);
      await printPermissions(invocation, { feeds, executorQueues: executorQueue, clients: client, serve });
      return EXIT_CODES.ok;
    }
    const steps = await setUp(invocation.config, {
      subscribers: subscriber.map(subscriberOf),
      ...(executorQueue === undefined ? {} : { executorQueues: executorQueue }),
    });
    if (invocation.json) shell.out(JSON.stringify({ steps }));
    else for (const { kind, name, did } of steps) shell.out(`${did.padEnd(9)} ${kind} ${name}`);
    return EXIT_CODES.ok;
  });
}

/** What `nats-server` must be told, so that each process may do what it needs and no more. */
async function printPermissions(
  { shell, config, json }: Invocation,
  wanted: {
    readonly feeds: readonly Subscriber[];
    readonly executorQueues: readonly string[] | undefined;
    readonly clients: readonly string[];
    /** Roles that run in one process. */
    readonly serve: readonly Role[];
  },
): Promise<void> {
  const { feeds, executorQueues = config.executorQueues, clients, serve } = wanted;
  const { layoutFrom } = await import('../nats/link.ts');
  const { natsConfiguration, natsUsers } = await import('../wire/permissions.ts');
  const tenants = [...new Set([...clients, ...feeds.map(({ tenant }) => tenant)])].map((tenant) => ({
    tenant,
    feeds: feeds.filter((feed) => feed.tenant === tenant).map(({ name }) => name),
  }));
  const alone = ROLES.filter((role) => !serve.includes(role)).map((role) => [role]);
  const users = natsUsers(layoutFrom(natsOptions(config)), {
    ...{ queues: config.queues, executorQueues, tenants },
    processes: serve.length === 0 ? alone : [[...new Set(serve)], ...alone],
  });
  shell.out(json ? JSON.stringify({ users }) : natsConfiguration(users).trimEnd());
}

function subscriberOf(text: string): Subscriber {
  const at = text.lastIndexOf('/');
  if (at > 0 && at < text.length - 1) return { tenant: text.slice(0, at), name: text.slice(at + 1) };
  throw new ReentryError('CONFIG_INVALID', `--subscriber must be TENANT/NAME, not ${JSON.stringify(text)}`, {
    transient: false,
  });
}
