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

/** How long transient errors are retried: a NATS cluster that has just started, or lost a member, elects leaders first. */
const RETRY_FOR_MS = 60_000;
const RETRY_EVERY_MS = 500;

/** Makes the server match the table of streams. Idempotent. */
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
  const giveUpAt = Date.now() + RETRY_FOR_MS;
  for (;;) {
    try {
      return await setup(connection.nc, layoutFrom(options), settings);
    } catch (error) {
      // Idempotent: what exists stays, the rest is created by the next try.
      if (!(error instanceof ReentryError) || !error.transient || Date.now() > giveUpAt) throw error;
      await pause(RETRY_EVERY_MS);
    }
  }
}

/** `reentry setup`: creates streams, buckets, consumers and durable feeds. */
export function setupCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'setup',
    summary: 'create or update the streams, buckets and consumers that reentry needs; safe to repeat',
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
      'reentry setup --permissions --serve worker triggerer    # one user for `reentry serve`',
    ],
  })
    .option('--subscriber <TENANT/NAME>', 'create a durable feed of completed events of a tenant; repeatable', collect)
    .option('--executor-queue <QUEUE>', 'one queue of --executor-queues; repeatable', collect)
    .option(
      '--permissions',
      'only print the users and permissions for the configuration of nats-server, one user per role',
    )
    .addOption(
      new Option('--serve <ROLE...>', 'with --permissions: one user for a process with these roles').choices([
        ...ROLES,
      ]),
    )
    .option('--client <TENANT>', 'with --permissions: a user for clients of this tenant; repeatable', collect);
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

/** Prints the users for nats-server, each with the permissions that its process needs and no others. */
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
