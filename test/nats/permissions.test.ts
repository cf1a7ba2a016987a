import { Subject } from 'rxjs';
import { describe, expect, test } from 'vitest';
import { openBroker } from '../../src/nats/broker.ts';
import { openClientBroker } from '../../src/nats/client-broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { setup } from '../../src/nats/setup.ts';
import {
  PERMISSIONS,
  PERMISSION_ROLES,
  natsUserPermissions,
  permissionsOf,
  rowSubjects,
} from '../../src/wire/permissions.ts';
import type { PermissionRole, PermissionScope } from '../../src/wire/permissions.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import { subjectCovers, refusedSubjects } from '../../src/nats/probe.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { DEFAULTS } from '../support/defaults.ts';

const layout = layoutFrom({});
const scope: PermissionScope = {
  ...{ tenant: 'sales', queues: ['default'], executorQueues: ['executor'], feeds: ['billing'] },
};
/** The users: of each role alone, and of a process with several (`reentry serve`). */
const USERS: Readonly<Record<string, readonly PermissionRole[]>> = {
  ...Object.fromEntries(PERMISSION_ROLES.map((role) => [role, [role]])),
  serve: ['worker', 'triggerer', 'executor'],
};
const rolesOf = (name: string): readonly PermissionRole[] => USERS[name] ?? [];
const user = (name: string, permissions: object) => ({ user: name, password: name, permissions });
/** Each user without one of its subjects. */
const curtailed = Object.entries(USERS).flatMap(([owner, roles]) => {
  const whole = permissionsOf(roles, layout, scope);
  return (['publish', 'subscribe'] as const).flatMap((side) =>
    whole[side].map((subject, index) => {
      const rest = whole[side].filter((_, n) => n !== index);
      return {
        ...{ owner, side, subject, name: `${owner}-${side}-${index}` },
        isCovered: rest.some((other) => subjectCovers(other, subject)),
        // An empty list would allow everything.
        permissions: natsUserPermissions({ ...whole, [side]: rest.length === 0 ? ['none'] : rest }),
      };
    }),
  );
});
const { url } = sharedNatsServer({
  // JSON is valid in the server's configuration.
  config: `authorization { users: ${JSON.stringify([
    ...Object.entries(USERS).map(([name, roles]) =>
      user(name, natsUserPermissions(permissionsOf(roles, layout, scope))),
    ),
    { user: 'god', password: 'god' },
    ...curtailed.map(({ name, permissions }) => user(name, permissions)),
    user('mute', natsUserPermissions({ ...permissionsOf(['worker'], layout, scope), responses: false })),
  ])} }`,
});
const as = (name: string, role: PermissionRole = rolesOf(name)[0] ?? 'setup') => ({
  servers: url(),
  user: name,
  pass: name,
  role,
  name,
  ...(role === 'client' ? { tenant: scope.tenant } : {}),
});

/** A subject that a pattern matches, with tokens of its own where the pattern has wildcards. */
const sample = (pattern: string) => pattern.replace(/\*/g, 'x').replace(/>/g, 'x');

/** What a user was refused, of the subjects it tried to publish or subscribe. */
async function refusals(
  name: string,
  side: 'publish' | 'subscribe',
  subjects: readonly string[],
): Promise<readonly string[]> {
  await using connection = await connectNats(as(name));
  const { nc } = connection;
  const refused = new Set<string>();
  const follow = async () => {
    for await (const { permissionContext } of nc.status())
      if (permissionContext !== undefined) refused.add(permissionContext.subject);
  };
  void follow();
  for (const subject of subjects)
    if (side === 'publish') nc.publish(subject);
    else nc.subscribe(subject, { callback: () => undefined });
  // The server refuses in order: once it has refused this one, it has checked all before it.
  nc.publish('no-role.may');
  await expect.poll(() => refused.has('no-role.may')).toBe(true);
  refused.delete('no-role.may');
  return [...refused];
}

describe('each row of the table', () => {
  // Publishing to an API is trying it: what the subject asks for is not there, or the request is empty; nothing is changed by these.
  for (const row of PERMISSIONS)
    for (const side of ['publish', 'subscribe'] as const) {
      if (row[side].length === 0) continue;
      for (const [name, roles] of Object.entries(USERS)) {
        const whole = permissionsOf(roles, layout, scope)[side];
        const own = rowSubjects(row, side, roles, layout, scope);
        // A user without the row may still have some of its subjects from another one; no user has queues of the other kind.
        const foreign = rowSubjects(row, side, PERMISSION_ROLES, layout, scope).filter(
          (subject) => !whole.some((allowed) => subjectCovers(allowed, subject)),
        );
        if (own.length > 0)
          test(`${name} may ${side}: ${row.what}`, async () => {
            expect(await refusals(name, side, side === 'publish' ? own.map(sample) : own)).toEqual([]);
          });
        if (foreign.length > 0)
          test(`${name} may not ${side}: ${row.what}${own.length > 0 ? ', of others' : ''}`, async () => {
            const tried = side === 'publish' ? foreign.map(sample) : foreign;
            expect([...(await refusals(name, side, tried))].sort()).toEqual([...new Set(tried)].sort());
          });
      }
    }
});

describe('the probe that doctor makes', () => {
  const probe = (owner: string, name: string) =>
    refusedSubjects(rolesOf(owner), { ...as(owner), user: name, pass: name }, scope);

  test.each(Object.keys(USERS))('finds nothing missing for a %s with its own permissions', async (name) => {
    expect(await probe(name, name)).toEqual([]);
  });

  test.each(['worker', 'triggerer', 'executor'])(
    'names what the user of a %s lacks for all three roles',
    async (name) => {
      const lacking = (side: 'publish' | 'subscribe') => {
        const own = permissionsOf(rolesOf(name), layout, scope)[side];
        const wanted = permissionsOf(rolesOf('serve'), layout, scope)[side];
        return wanted.filter((subject) => !own.some((allowed) => subjectCovers(allowed, subject)));
      };
      const found = (await probe('serve', name)).map(({ subject }) => subject);
      expect(new Set(found)).toEqual(new Set([...lacking('publish'), ...lacking('subscribe')]));
    },
  );

  test('names any one missing subject', async () => {
    for (const { owner, side, subject, name, isCovered } of curtailed) {
      const found = [
        ...new Set((await probe(owner, name)).filter((one) => one.side !== 'answer').map((one) => one.subject)),
      ];
      expect({ name, found }).toEqual({ name, found: isCovered ? [] : [subject] });
      expect(side).toMatch(/publish|subscribe/);
    }
  });

  test('names a missing permission to answer', async () => {
    expect(await probe('worker', 'mute')).toMatchObject([{ side: 'answer' }]);
  });

  test('leaves no message and no consumer', async () => {
    await using connection = await connectNats(as('god'));
    await setup(connection.nc, layout, { ...DEFAULTS.streams, storageBytes: 512 * 1024 ** 2 });
    const stored = async () => {
      const manager = await connection.nc.jetstreamManager();
      const streams = await manager.streams.list().next();
      return streams.map(({ config, state }) => [config.name, state.messages, state.last_seq, state.consumer_count]);
    };
    const before = await stored();
    for (const name of Object.keys(USERS)) await probe(name, name);
    expect(await stored()).toEqual(before);
  });
});

describe('a client', () => {
  test.each([
    ['publish', layout.subjects.run.of('default', { tenant: 'other', runId: 'r' })],
    ['publish', layout.subjects.event.of({ tenant: 'sales', runId: 'r' }, 'completed')],
    ['publish', layout.subjects.step.of('default', 'start', { tenant: 'sales', runId: 'r' })],
    ['publish', layout.assets.stateBucket.subject('sales.r')],
    [
      'publish',
      `$JS.API.DIRECT.GET.${layout.assets.stateBucket.stream}.${layout.assets.stateBucket.subject('sales.r')}`,
    ],
    ['publish', `$JS.API.CONSUMER.CREATE.${layout.assets.events}`],
    ['publish', `$JS.API.DIRECT.GET.${layout.assets.events}.${layout.subjects.event.ofTenant('other')}`],
    ['subscribe', layout.subjects.event.ofTenant('other')],
    ['subscribe', layout.subjects.log.ofTenant('other')],
    ['subscribe', '_INBOX_client_other.>'],
    ['subscribe', '>'],
  ] as const)('may not %s %s', async (side, subject) => {
    expect(await refusals('client', side, [subject])).toEqual([subject]);
  });
});

describe('roles with only their permissions', () => {
  const run = { tenant: 'sales', runId: 'r' };
  const state: RunState = {
    v: 1,
    phase: 'Queued',
    queue: 'default',
    operator: 'pod',
    attempt: 1,
    step: 0,
    userFailures: 0,
    infraFailures: 0,
    faults: 0,
    fence: { stream: 'RUNS', seq: 1, epoch: 0, by: 'w' },
    op: 'o',
    timings: {},
    requestHash: '',
  };
  const subscription = { v: 1, queue: 'default', attempt: 1, step: 0, stateRev: 1, await: {}, then: 'resume' as const };

  test('can set up, request, work, watch and answer', async () => {
    {
      await using connection = await connectNats(as('setup'));
      await setup(connection.nc, layout, {
        ...DEFAULTS.streams,
        storageBytes: 512 * 1024 ** 2,
        subscribers: [{ tenant: 'sales', name: 'billing' }],
      });
    }
    await using worker = await openBroker({ ...as('worker'), role: 'worker' });
    await using triggerer = await openBroker({ ...as('triggerer'), role: 'triggerer' });
    await using client = await openClientBroker({ ...as('client'), role: 'client' });

    await client.publishRun('default', run, new TextEncoder().encode('{}'), 'run:r');
    const taken: string[] = [];
    const stop$ = new Subject<void>();
    const drained = new Promise<void>((resolve) => {
      worker.queues
        .intake$(
          'default',
          1,
          async (delivery) => {
            taken.push(delivery.runIdToken);
            await delivery.ack();
          },
          stop$,
        )
        .subscribe({ complete: resolve });
    });
    await expect.poll(() => taken).toEqual(['r']);
    expect(await worker.queues.undelivered('default')).toBe(0);
    await expect(worker.queues.undelivered('executor')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    stop$.next();
    await drained;

    await worker.requests.claim(run, {});
    const written = await worker.runs.write(run, state, 0);
    expect(written.kind).toBe('written');
    expect((await worker.runs.list({ limit: 10 })).runs).toHaveLength(1);
    const changes: string[] = [];
    const watching = triggerer.subscriptions.changes$('r1').subscribe(({ kind }) => changes.push(kind));
    const claiming = triggerer.membership
      .claims$()
      .subscribe(({ ...signal }) => changes.push('key' in signal ? signal.key : 'claims synced'));
    await worker.subscriptions.put(run, subscription);
    await expect.poll(() => changes).toEqual(expect.arrayContaining(['put', 'synced', 'claims synced']));
    expect(await triggerer.membership.claim('s.00', { owner: 't', epoch: 1 }, 0)).toBeGreaterThan(0);
    await expect.poll(() => changes).toContain('s.00');
    await triggerer.publish.resume(
      run,
      'default',
      { v: 1, attempt: 1, step: 0, stateRev: 1, subRev: 1, event: { kind: 'success', at: 0 } },
      'fire:r:0:0',
    );
    await expect(triggerer.subscriptions.delete(run)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(triggerer.runs.write(run, state, 0)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await worker.subscriptions.delete(run);
    await worker.sweep({ olderThanMs: 0, limit: 10 });
    watching.unsubscribe();
    claiming.unsubscribe();

    await worker.logs.append(run, 1, 'base', { text: 'x', to: { nanos: 1n, lines: 1 } }, 0);
    expect((await worker.logs.read(run, { limit: 5 })).chunks).toHaveLength(1);
    await worker.results.put(run, 1, 'return.json', new Uint8Array(200_000));
    expect((await worker.results.get(run, 1, 'return.json'))?.length).toBe(200_000);
    await worker.publish.event(run, 'completed', 1, { ...run, state: 'succeeded', attempt: 1, timings: {} });
    expect(await client.lastEvent(run, 'completed')).toMatchObject({ data: { state: 'succeeded' } });
    await expect(client.lastEvent({ ...run, tenant: 'other' }, 'completed')).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });

    const serving = worker.services.serve$('status', (tenant) => Promise.resolve({ ok: tenant })).subscribe();
    await expect.poll(() => client.request('sales', 'status', {}).catch(() => undefined)).toEqual({ ok: 'sales' });
    await expect(client.request('other', 'status', {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
    serving.unsubscribe();
    await worker.fill();
  });
});
