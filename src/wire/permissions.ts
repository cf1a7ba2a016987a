/** Who may publish and subscribe what: one table, from which the users of a NATS server are configured. @see spec protocol §11 */
import { consumers, watchHeartbeatKeys } from './streams.ts';
import type { Bucket, Layout, Subscriber } from './streams.ts';
import { LANES, keys } from './subjects.ts';
import { DEFAULT_EXECUTOR_QUEUE, DEFAULT_QUEUE, DEFAULT_TENANT, enc } from './tokens.ts';

/** Roles with permissions of their own. A client's are those of one tenant. */
export const PERMISSION_ROLES = ['client', 'worker', 'executor', 'triggerer', 'setup'] as const;
export type PermissionRole = (typeof PERMISSION_ROLES)[number];

/** For whom permissions are made. */
export interface PermissionScope {
  /** Tenant of a client. */
  readonly tenant: string;
  /** Queues that a worker serves; in a row, those that the role it is made for serves. */
  readonly queues: readonly string[];
  /** Queues that an executor serves. */
  readonly executorQueues: readonly string[];
  /** Names of the client's durable feeds. */
  readonly feeds: readonly string[];
}

/** One row: what it is for, its subjects, and who may do what. */
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
/** What a watch of a whole bucket needs: an ephemeral consumer on it. */
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
  // With a domain and an account in it (ADR-15).
  `$JS.ACK.*.*.${stream}.${consumer}.>`,
];
const feedsOf = ({ tenant, feeds }: PermissionScope): readonly Subscriber[] => feeds.map((name) => ({ tenant, name }));

const WORKERS = ['worker', 'executor'] as const;

/** The table. A client never gets CONSUMER.CREATE (its body can name a push subject the client may not publish to) nor the state bucket. */
export const PERMISSIONS: readonly PermissionRow[] = [
  {
    what: "run requests of one's own tenant",
    subjects: ({ subjects }, { tenant }) => [subjects.run.tenant(tenant)],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "services for one's own tenant",
    subjects: ({ subjects }, { tenant }) => [subjects.service.ofTenant(tenant)],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "events, logs and live logs of one's own tenant",
    subjects: ({ subjects }, { tenant }) => [
      subjects.event.ofTenant(tenant),
      subjects.log.ofTenant(tenant),
      subjects.live.ofTenant(tenant),
    ],
    publish: [],
    subscribe: ['client'],
  },
  {
    what: "the last event of one's own runs",
    subjects: ({ subjects, assets }, { tenant }) => [directGet(assets.events, subjects.event.ofTenant(tenant))],
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "one's own durable feeds",
    subjects: ({ assets }, scope) =>
      feedsOf(scope).flatMap((feed) => [
        `$JS.API.CONSUMER.INFO.${assets.events}.${consumers.feed(feed)}`,
        ...pulled(assets.events, consumers.feed(feed)),
      ]),
    publish: ['client'],
    subscribe: [],
  },
  {
    what: "replies to one's own requests",
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
    // Tenants' inboxes end in their own token, which no wildcard of part of a token can name: so what a client asked for is answered through
    // `allow_responses`, and only the common inbox stands here.
    subjects: () => ['_INBOX.>'],
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'messages of the queues that are served',
    subjects: ({ assets }, { queues }) =>
      queues.flatMap((queue) => [
        ...pulled(assets.runs, consumers.intake(queue)),
        ...LANES.flatMap((lane) => pulled(assets.steps, consumers.step(lane, queue))),
      ]),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'how much waits in the queues that are served',
    subjects: ({ assets }, { queues }) =>
      queues.flatMap((queue) => [
        `$JS.API.CONSUMER.INFO.${assets.runs}.${consumers.intake(queue)}`,
        ...LANES.map((lane) => `$JS.API.CONSUMER.INFO.${assets.steps}.${consumers.step(lane, queue)}`),
      ]),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'run requests on behalf of submit, and of replayed dead letters',
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
    what: 'who follows a run live',
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
    what: "requests, states, subscriptions and the janitor's lease",
    subjects: ({ assets }) =>
      [assets.requestBucket, assets.stateBucket, assets.subscriptionBucket, assets.ownershipBucket].flatMap(
        (bucket) => [...keyed(bucket), `$JS.API.STREAM.MSG.DELETE.${bucket.stream}`],
      ),
    publish: WORKERS,
    subscribe: [],
  },
  {
    what: 'fill of the buckets, and the clock of the broker',
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
      // The library reads an object through an ordered consumer, and looks up its stream by subject.
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
    what: 'gates of queues: pause and resume',
    subjects: ({ assets: { subscriptionBucket } }) => [subscriptionBucket.subject(keys.queue('*'))],
    publish: ['setup'],
    subscribe: [],
  },
  {
    what: 'heartbeats of triggerers',
    subjects: ({ subjects }) => [subjects.heartbeat.all],
    publish: ['triggerer'],
    // `status --triggerers` is for whoever operates the installation.
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
    what: 'making streams, buckets and consumers; reading dead letters and what they are about',
    subjects: () => ['$JS.API.>'],
    publish: ['setup'],
    subscribe: [],
  },
];

/** What one role may do. `responses`: may answer whoever asked it. */
export interface RolePermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  readonly responses: boolean;
}

/** The subjects of one row that a process of these roles may use on that side; empty where none of them has the row. */
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

/** Permissions of a process that has these roles: the union of their rows, and no more. */
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

/** Permissions as a server's configuration takes them (JSON is valid there), for one user. */
export function natsUserPermissions({ publish, subscribe, responses }: RolePermissions) {
  return {
    publish: { allow: publish },
    subscribe: { allow: subscribe },
    // One answer per request, within the longest a client waits.
    ...(responses ? { allow_responses: { max: 1, ttl: '2m' } } : {}),
  };
}

/** Roles that a process of the installation may have, alone or together. */
export type ProcessRole = Exclude<PermissionRole, 'client' | 'setup'>;

/** Every role in a process of its own. */
const APART: readonly (readonly ProcessRole[])[] = [['worker'], ['executor'], ['triggerer']];

/** What a process is called by whoever grants it something: its role, or `serve` where it has several. */
export function processName(roles: readonly ProcessRole[]): ProcessRole | 'serve' {
  const [first, ...rest] = roles;
  return first === undefined || rest.length > 0 ? 'serve' : first;
}

/** A user of the broker: a process's, or a tenant's client. */
export interface NatsUser {
  readonly user: string;
  /** Variable of nats-server's environment that its password comes from. */
  readonly passwordFrom: string;
  readonly permissions: ReturnType<typeof natsUserPermissions>;
}

/** One user for each kind of process, and one client for each tenant. */
export function natsUsers(
  layout: Layout,
  settings: {
    readonly queues: readonly string[];
    readonly executorQueues: readonly string[];
    readonly tenants: readonly { readonly tenant: string; readonly feeds: readonly string[] }[];
    /** Which roles run together; those of `serve` need no users of their own. Default: each alone. */
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

/** The users as a part of a nats-server's configuration; include it, or put its list into an account. */
export function natsConfiguration(users: readonly NatsUser[]): string {
  const lines = users.map(
    ({ user, passwordFrom, permissions }) =>
      `    { user: ${JSON.stringify(user)}, password: $${passwordFrom},\n      permissions: ${JSON.stringify(permissions)} }`,
  );
  return [
    '# Users of reentry, one for each kind of process and each tenant. Passwords come from the environment of nats-server.',
    'authorization {',
    '  users: [',
    lines.join('\n'),
    '  ]',
    '}',
    '',
  ].join('\n');
}
