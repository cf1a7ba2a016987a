/** Who may publish and subscribe what: one table, from which the users of a NATS server are configured. */
import { consumers, watchHeartbeatKeys } from './streams.ts';
import type { Bucket, Layout, Subscriber } from './streams.ts';
import { LANES, keys } from './subjects.ts';
import { DEFAULT_EXECUTOR_QUEUE, DEFAULT_QUEUE, DEFAULT_TENANT, enc } from './tokens.ts';

/** Roles with permissions of their own. A client's are those of one tenant. */
export const PERMISSION_ROLES = ['client', 'worker', 'executor', 'triggerer', 'setup'] as const;
export type PermissionRole = (typeof PERMISSION_ROLES)[number];

/** What permissions are made for. */
export interface PermissionScope {
  /** Tenant of a client. */
  readonly tenant: string;
  /** Queues that a worker serves. Inside a row: the queues of the role the row is made for. */
  readonly queues: readonly string[];
  /** Queues that an executor serves. */
  readonly executorQueues: readonly string[];
  /** Names of the client's durable feeds. */
  readonly feeds: readonly string[];
}

/** One row: what it is for, its subjects, and which roles may publish or subscribe. */
export interface PermissionRow {
  readonly what: string;
  readonly subjects: (layout: Layout, scope: PermissionScope) => readonly string[];
  readonly publish: readonly PermissionRole[];
  readonly subscribe: readonly PermissionRole[];
}

const directGet = (stream: string, subject: string) => `$JS.API.DIRECT.GET.${stream}.${subject}`;
/** Reads and writes of a bucket by key, from leader and replicas. */
const keyed = (bucket: Bucket) => [
  bucket.all,
  directGet(bucket.stream, bucket.all),
  `$JS.API.DIRECT.GET.${bucket.stream}`,
  `$JS.API.STREAM.MSG.GET.${bucket.stream}`,
];
/** A watch of a whole bucket: an ephemeral consumer. */
const watched = (bucket: Bucket) => [
  `$JS.API.STREAM.INFO.${bucket.stream}`,
  `$JS.API.CONSUMER.CREATE.${bucket.stream}.*.${bucket.all}`,
  `$JS.API.CONSUMER.INFO.${bucket.stream}.*`,
  `$JS.API.CONSUMER.DELETE.${bucket.stream}.*`,
  `$JS.FC.${bucket.stream}.>`,
];
const pulled = (stream: string, consumer: string) => [
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
  `$JS.ACK.${stream}.${consumer}.>`,
  // With domain and account. @see https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
  `$JS.ACK.*.*.${stream}.${consumer}.>`,
];
const feedsOf = ({ tenant, feeds }: PermissionScope): readonly Subscriber[] => feeds.map((name) => ({ tenant, name }));

const WORKERS = ['worker', 'executor'] as const;

/** The table. A client gets neither CONSUMER.CREATE, whose body can name a push subject that the client may not publish to, nor the state bucket. */
export const PERMISSIONS: readonly PermissionRow[] = [
  {
    what: "run requests of the client's tenant",
    subjects: ({ subjects }, { tenant }) => [subjects.run.tenant(tenant)],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "services for the client's tenant",
    subjects: ({ subjects }, { tenant }) => [subjects.service.ofTenant(tenant)],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "events, logs and live logs of the client's tenant",
    subjects: ({ subjects }, { tenant }) => [
      subjects.event.ofTenant(tenant),
      subjects.log.ofTenant(tenant),
      subjects.live.ofTenant(tenant),
    ],
    publish: [],
    subscribe: ['client'],
  },
  {
    what: "the last event of the tenant's runs",
    subjects: ({ subjects, assets }, { tenant }) => [directGet(assets.events, subjects.event.ofTenant(tenant))],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "the client's durable feeds",
    subjects: ({ assets }, scope) =>
      feedsOf(scope).flatMap((feed) => [
        `$JS.API.CONSUMER.INFO.${assets.events}.${consumers.feed(feed)}`,
        ...pulled(assets.events, consumers.feed(feed)),
      ]),
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "replies to the client's requests",
    subjects: (_layout, { tenant }) => [`_INBOX_client_${enc(tenant)}.>`],
    publish: [],
    subscribe: ['client'],
  },
  ...(['worker', 'executor', 'triggerer', 'setup'] as const).map((role): PermissionRow => ({
    what: `replies to requests of a ${role}`,
    subjects: () => [`_INBOX_${role}.>`],
    publish: [],
    subscribe: [role],
  })),
  {
    what: 'answers of services, to inboxes only',
    // No wildcard matches part of a token, so the inboxes `_INBOX_client_<tenant>` cannot be listed here: `allow_responses` covers them.
    subjects: () => ['_INBOX.>'],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'messages of the queues it serves',
    subjects: ({ assets }, { queues }) =>
      queues.flatMap((queue) => [
        ...pulled(assets.runs, consumers.intake(queue)),
        ...LANES.flatMap((lane) => pulled(assets.steps, consumers.step(lane, queue))),
      ]),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'the first request under a run id',
    subjects: ({ assets }) => [`$JS.API.STREAM.MSG.GET.${assets.runs}`],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'number of waiting messages in the queues it serves',
    subjects: ({ assets }, { queues }) =>
      queues.flatMap((queue) => [
        `$JS.API.CONSUMER.INFO.${assets.runs}.${consumers.intake(queue)}`,
        ...LANES.map((lane) => `$JS.API.CONSUMER.INFO.${assets.steps}.${consumers.step(lane, queue)}`),
      ]),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'run requests for service submit and for replayed dead letters',
    subjects: ({ subjects }) => [`${subjects.root}.run.>`],
    publish: [...WORKERS, 'setup'],
    subscribe: [],
  },
  {
    what: 'next steps of runs',
    subjects: ({ subjects }) => [subjects.step.all],
    publish: ['worker', 'executor', 'triggerer'],
    subscribe: [],
  },
  {
    what: 'events, logs, live logs, dead letters and nudges',
    subjects: ({ subjects }) => [
      subjects.event.all,
      subjects.log.all,
      subjects.live.all,
      subjects.dlq.all,
      subjects.nudge.all,
    ],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'requests about following logs',
    subjects: ({ subjects }) => [subjects.follow.all],
    publish: WORKERS,
    subscribe: WORKERS,
  },
  {
    what: 'nudges and service requests',
    subjects: ({ subjects }) => [subjects.nudge.all, subjects.service.all],
    publish: [],
    subscribe: WORKERS,
  },
  {
    what: "requests, states, subscriptions, slots of executor queues and the janitor's lease",
    subjects: ({ assets: { requestBucket, stateBucket, subscriptionBucket, ownershipBucket, slotBucket } }) =>
      [requestBucket, stateBucket, subscriptionBucket, ownershipBucket, slotBucket].flatMap((bucket) => [
        ...keyed(bucket),
        `$JS.API.STREAM.MSG.DELETE.${bucket.stream}`,
      ]),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'fill of the buckets and clock of the broker',
    subjects: ({ assets }) =>
      [
        assets.runs,
        assets.requestBucket.stream,
        assets.stateBucket.stream,
        assets.subscriptionBucket.stream,
        assets.resultBucket.stream,
      ].map((stream) => `$JS.API.STREAM.INFO.${stream}`),
    publish: ['worker', 'executor', 'triggerer'],
    subscribe: [],
  },
  {
    what: 'history of logs',
    subjects: ({ assets }) => [
      `$JS.API.DIRECT.GET.${assets.logs}`,
      `$JS.API.DIRECT.GET.${assets.logs}.>`,
      `$JS.API.STREAM.MSG.GET.${assets.logs}`,
    ],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'result objects',
    subjects: ({ assets: { resultBucket } }) => [
      `$O.${resultBucket.bucket}.>`,
      `$JS.API.STREAM.INFO.${resultBucket.stream}`,
      `$JS.API.STREAM.PURGE.${resultBucket.stream}`,
      `$JS.API.STREAM.MSG.GET.${resultBucket.stream}`,
      `$JS.API.DIRECT.GET.${resultBucket.stream}.>`,
      // The library looks up an object's stream by subject and reads the object through an ordered consumer.
      '$JS.API.STREAM.NAMES',
      `$JS.API.CONSUMER.CREATE.${resultBucket.stream}`,
      `$JS.API.CONSUMER.CREATE.${resultBucket.stream}.>`,
      `$JS.API.CONSUMER.INFO.${resultBucket.stream}.*`,
      `$JS.API.CONSUMER.DELETE.${resultBucket.stream}.*`,
      `$JS.FC.${resultBucket.stream}.>`,
    ],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'queries to other roles',
    subjects: ({ subjects }) => [subjects.query.all],
    publish: [...WORKERS, 'setup'],
    subscribe: [...WORKERS, 'triggerer'],
  },
  {
    what: 'pausing and resuming queues',
    subjects: ({ assets: { subscriptionBucket } }) => [subscriptionBucket.subject(keys.queue('*'))],
    publish: ['setup'],
    subscribe: [],
  },
  {
    what: 'heartbeats of triggerers',
    subjects: ({ subjects }) => [subjects.heartbeat.all],
    publish: ['triggerer'],
    // `status --triggerers` is for the installation's operator.
    subscribe: ['triggerer', 'worker', 'executor', 'setup'],
  },
  {
    what: 'heartbeats of executors',
    subjects: ({ subjects }) => [subjects.executorHeartbeat.all],
    publish: ['executor'],
    subscribe: WORKERS,
  },
  {
    what: 'the watch of subscriptions, with its own heartbeats and nothing else written',
    subjects: ({ assets: { subscriptionBucket } }) => [
      ...watched(subscriptionBucket),
      directGet(subscriptionBucket.stream, subscriptionBucket.all),
      `$JS.API.STREAM.MSG.GET.${subscriptionBucket.stream}`,
      subscriptionBucket.subject(`${watchHeartbeatKeys.prefix}>`),
    ],
    publish: ['triggerer'],
    subscribe: [],
  },
  {
    what: 'claims of shards',
    subjects: ({ assets: { ownershipBucket } }) => [...watched(ownershipBucket), ...keyed(ownershipBucket)],
    publish: ['triggerer'],
    subscribe: [],
  },
  {
    what: 'the watch of slots',
    subjects: ({ assets: { slotBucket } }) => watched(slotBucket),
    publish: ['executor'],
    subscribe: [],
  },
  {
    what: 'creating streams, buckets and consumers; reading dead letters and their runs',
    subjects: () => ['$JS.API.>'],
    publish: ['setup'],
    subscribe: [],
  },
];

/** Permissions of a role. `responses`: may answer the requests it receives. */
export interface RolePermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  readonly responses: boolean;
}

/** The subjects of one row that a process of these roles may use on that side; empty where the row is for none of them. */
export function rowSubjects(
  row: PermissionRow,
  side: 'publish' | 'subscribe',
  roles: readonly PermissionRole[],
  layout: Layout,
  scope: Partial<PermissionScope> = {},
): readonly string[] {
  const { tenant = DEFAULT_TENANT, queues = [DEFAULT_QUEUE], executorQueues = [DEFAULT_EXECUTOR_QUEUE] } = scope;
  const { feeds = [] } = scope;
  const having = roles.filter((role) => row[side].some((one) => one === role));
  const found = having.flatMap((role) =>
    row.subjects(layout, { tenant, queues: role === 'executor' ? executorQueues : queues, executorQueues, feeds }),
  );
  return [...new Set(found)];
}

/** Permissions of a process with these roles: the union of their rows. */
export function permissionsOf(
  roles: readonly PermissionRole[],
  layout: Layout,
  scope: Partial<PermissionScope> = {},
): RolePermissions {
  const of = (side: 'publish' | 'subscribe') => [
    ...new Set(PERMISSIONS.flatMap((row) => rowSubjects(row, side, roles, layout, scope))),
  ];
  return {
    publish: of('publish'),
    subscribe: of('subscribe'),
    responses: roles.some((role) => role !== 'client' && role !== 'setup'),
  };
}

/** Permissions of one user, as a server's configuration takes them. JSON is valid there. */
export function natsUserPermissions({ publish, subscribe, responses }: RolePermissions) {
  return {
    publish: { allow: publish },
    subscribe: { allow: subscribe },
    // One answer per request, for as long as a client may wait.
    ...(responses ? { allow_responses: { max: 1, ttl: '2m' } } : {}),
  };
}

/** Roles that a process may have, alone or together. */
export type ProcessRole = Exclude<PermissionRole, 'client' | 'setup'>;

/** Every role in a process of its own. */
const APART: readonly (readonly ProcessRole[])[] = [['worker'], ['executor'], ['triggerer']];

/** Name of a process in user names: its role, or `serve` where it has several. */
export function processName(roles: readonly ProcessRole[]): ProcessRole | 'serve' {
  const [first, ...rest] = roles;
  return first === undefined || rest.length > 0 ? 'serve' : first;
}

/** A user of the broker: a process, or the client of a tenant. */
export interface NatsUser {
  readonly user: string;
  /** Environment variable of nats-server with the user's password. */
  readonly passwordFrom: string;
  readonly permissions: ReturnType<typeof natsUserPermissions>;
}

/** One user per kind of process, and one client per tenant. */
export function natsUsers(
  layout: Layout,
  settings: {
    readonly queues: readonly string[];
    readonly executorQueues: readonly string[];
    readonly tenants: readonly { readonly tenant: string; readonly feeds: readonly string[] }[];
    /** Roles that run together; those of `serve` have no user of their own. Default: each role alone. */
    readonly processes?: readonly (readonly ProcessRole[])[];
  },
): readonly NatsUser[] {
  const named = (user: string, roles: readonly PermissionRole[], scope: Partial<PermissionScope>): NatsUser => ({
    user: `reentry-${user}`,
    passwordFrom: `REENTRY_NATS_PASSWORD_${user.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`,
    permissions: natsUserPermissions(permissionsOf(roles, layout, scope)),
  });
  const { queues, executorQueues, tenants, processes = APART } = settings;
  return [
    named('setup', ['setup'], {}),
    ...processes.map((roles) => named(processName(roles), roles, { queues, executorQueues })),
    ...tenants.map(({ tenant, feeds }) => named(`client-${enc(tenant)}`, ['client'], { tenant, feeds })),
  ];
}

/** The users as a part of nats-server's configuration: include the file, or copy the list into an account. */
export function natsConfiguration(users: readonly NatsUser[]): string {
  const lines = users.map(
    ({ user, passwordFrom, permissions }) =>
      `    { user: ${JSON.stringify(user)}, password: $${passwordFrom},\n      permissions: ${JSON.stringify(permissions)} }`,
  );
  return [
    '# Users of reentry: one per kind of process, one per tenant. Passwords come from the environment of nats-server.',
    'authorization {',
    '  users: [',
    lines.join('\n'),
    '  ]',
    '}',
    '',
  ].join('\n');
}
