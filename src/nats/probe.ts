/** Probes the permissions of a role: tries every subject it needs, without side effects. */
import { headers } from 'nats';
import type { NatsConnection } from 'nats';
import { PERMISSIONS, permissionsOf, rowSubjects } from '../wire/permissions.ts';
import type { PermissionRole, PermissionScope } from '../wire/permissions.ts';
import { DEFAULT_TENANT } from '../wire/tokens.ts';
import { connectNats, sleep } from './connection.ts';
import { layoutFrom } from './link.ts';
import type { BrokerOptions } from './link.ts';
import { PROBE_HEADER } from './messages.ts';

/** A subject that the server refuses, and what it is for. */
export interface RefusedSubject {
  readonly side: 'publish' | 'subscribe' | 'answer';
  readonly subject: string;
  readonly what: string;
}

/** Time-out of the probe's own request, in milliseconds. No answer comes where publishing or subscribing is refused, which other probes show. */
const ANSWER_TIMEOUT_MS = 500;

/** A subject of the pattern: `probe` for each wildcard. */
const sample = (pattern: string): string => pattern.replace(/[*>]/g, 'probe');

/** Whether `wide` matches every subject that `narrow` matches. */
export function subjectCovers(wide: string, narrow: string): boolean {
  const [a, b] = [wide.split('.'), narrow.split('.')];
  for (const [i, token] of a.entries()) {
    if (token === '>') return i < b.length;
    if (b[i] === undefined || b[i] === '>' || (token !== '*' && token !== b[i])) return false;
  }
  return a.length === b.length;
}

/** Resolves when every refusal so far has arrived: the server answers in order. */
async function settled(nc: NatsConnection): Promise<void> {
  await nc.flush();
  await new Promise((resolve) => setImmediate(resolve));
}

/**
 * Tries each subject of the roles' permissions with these credentials. Nothing is stored: streams refuse the messages for their header, the
 * JetStream API for their body, and roles ignore them.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function refusedSubjects(
  roles: readonly PermissionRole[],
  options: BrokerOptions,
  scope: Partial<PermissionScope> = {},
): Promise<readonly RefusedSubject[]> {
  const layout = layoutFrom(options);
  const whole = { tenant: options.tenant ?? DEFAULT_TENANT, ...scope };
  await using connection = await connectNats(options);
  const { nc } = connection;
  const refused = { publish: new Set<string>(), subscribe: new Set<string>() };
  void (async () => {
    for await (const { permissionContext } of nc.status())
      if (permissionContext !== undefined)
        refused[permissionContext.operation === 'publish' ? 'publish' : 'subscribe'].add(permissionContext.subject);
  })();
  const header = headers();
  header.set('Nats-Expected-Stream', 'reentry-probe');
  header.set(PROBE_HEADER, '1');
  const wanted = permissionsOf(roles, layout, whole);
  for (const subject of wanted.publish) nc.publish(sample(subject), 'probe', { headers: header });
  const subscriptions = wanted.subscribe.map((subject) => nc.subscribe(subject, { callback: () => undefined }));
  await settled(nc);

  const found: RefusedSubject[] = [];
  for (const side of ['publish', 'subscribe'] as const)
    for (const row of PERMISSIONS)
      for (const subject of rowSubjects(row, side, roles, layout, whole))
        if (refused[side].has(side === 'publish' ? sample(subject) : subject))
          found.push({ side, subject, what: row.what });
  // Permission for one answer per request: a request that reached this connection twice would use it up.
  for (const subscription of subscriptions) subscription.unsubscribe();
  if (wanted.responses && !(await mayAnswer(nc, options, refused.publish, layout.subjects.nudge.of('probe'))))
    found.push({ side: 'answer', subject: 'allow_responses', what: 'answers of services' });
  return found;
}

/** Sends a request from a second connection, with a tenant's inbox for the answer. */
async function mayAnswer(
  nc: NatsConnection,
  options: BrokerOptions,
  refused: ReadonlySet<string>,
  subject: string,
): Promise<boolean> {
  const reply = '_INBOX_client_probe.1';
  const header = headers();
  header.set(PROBE_HEADER, '1');
  await using asking = await connectNats(options);
  const answered = new Promise<void>((resolve) => {
    nc.subscribe(subject, {
      max: 1,
      callback: (error, message) => {
        if (error === null) message.respond('probe');
        resolve();
      },
    });
  });
  await settled(nc);
  asking.nc.publish(subject, 'probe', { reply, headers: header });
  await settled(asking.nc);
  await Promise.race([answered, sleep(ANSWER_TIMEOUT_MS)]);
  await settled(nc);
  return !refused.has(reply);
}
