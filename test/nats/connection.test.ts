import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { publishAcked } from '../../src/nats/publish.ts';
import { aNatsServer, sharedNatsServer } from '../support/nats-server.ts';

const base = { role: 'worker', name: 'test' } as const;

describe('a server with users', () => {
  const { url } = sharedNatsServer({ config: 'authorization { users: [ { user: "team:a", password: "p@ss" } ] }' });
  const withUser = (user: string) => url().replace('//', `//${user}@`);

  test('user and password in the URL work', async () => {
    await using connection = await connectNats({ ...base, servers: withUser('team%3Aa:p%40ss') });
    await connection.nc.flush();
  });

  test('user and password as options work, and win over the URL', async () => {
    await using connection = await connectNats({ ...base, servers: withUser('x:y'), user: 'team:a', pass: 'p@ss' });
    await connection.nc.flush();
  });

  test('a wrong password is reported with the remedy and without the password', async () => {
    const failure = connectNats({ ...base, servers: withUser('team%3Aa:wrong-secret') });
    await expect(failure).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('REENTRY_NATS_CREDS'),
    });
    await expect(failure).rejects.not.toMatchObject({ message: expect.stringContaining('wrong-secret') });
  });

  test('missing credentials are refused in the same way', async () => {
    await expect(connectNats({ ...base, servers: url() })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('required TLS is never dropped silently', async () => {
    const failure = connectNats({ ...base, servers: withUser('team%3Aa:p%40ss').replace('nats:', 'tls:') });
    await expect(failure).rejects.toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('TLS') });
  });
});

describe('a server with a token', () => {
  const { url } = sharedNatsServer({ config: 'authorization { token: "s3cret" }' });

  test('the token works in the URL and as an option', async () => {
    await using inUrl = await connectNats({ ...base, servers: url().replace('//', '//s3cret@') });
    await using asOption = await connectNats({ ...base, servers: url(), token: 's3cret' });
    await Promise.all([inUrl.nc.flush(), asOption.nc.flush()]);
  });
});

describe('a password with characters that URLs encode', () => {
  const { url } = sharedNatsServer({ config: 'authorization { users: [ { user: "a", password: "100%@zü" } ] }' });

  test.each(['100%@zü', '100%25%40z%C3%BC', '100%%40zü'])('works as %s', async (password) => {
    await using connection = await connectNats({ ...base, servers: url().replace('//', `//a:${password}@`) });
    await connection.nc.flush();
  });

  test.each(['a:hunter2@', 'http://a:hunter2@x', 'http://a:hun/hunter2@x', 'nats://a:x@hunter2@'])(
    'is not printed with an invalid address: %s',
    async (servers) => {
      const failure = connectNats({ ...base, servers });
      await expect(failure).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
      await expect(failure).rejects.not.toMatchObject({ message: expect.stringContaining('hunter2') });
    },
  );
});

describe('no server', () => {
  test('is reported at once, with its address', async () => {
    await expect(connectNats({ ...base, servers: 'nats://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'UNREACHABLE',
      transient: true,
      message: expect.stringMatching(/127\.0\.0\.1:1.*REENTRY_NATS_URL/),
    });
  });

  test.each(['http://x', 'nats://', ''])('%j is no address', async (servers) => {
    await expect(connectNats({ ...base, servers })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  test('a missing credentials file is reported by name', async () => {
    await using server = await aNatsServer();
    await expect(connectNats({ ...base, servers: server.url, credsFile: '/nowhere/x.creds' })).rejects.toMatchObject({
      message: expect.stringContaining('/nowhere/x.creds'),
    });
  });

  test('a process waits for it, logs why, and can be stopped', async () => {
    const warnings: string[] = [];
    const log = {
      debug: vi.fn(),
      info: vi.fn(),
      warn: (_fields: object, text: string) => warnings.push(text),
      error: vi.fn(),
      child: () => log,
    };
    const abort = new AbortController();
    const waiting = connectNats({ ...base, servers: '127.0.0.1:1', waitForServer: true, signal: abort.signal, log });
    await vi.waitFor(() => {
      expect(warnings.join()).toContain('127.0.0.1:1');
    });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});

describe('a server that restarts', () => {
  test('is reconnected, and connected$ reports the outage', async () => {
    await using server = await aNatsServer();
    await using connection = await connectNats({ ...base, servers: server.url });
    const states: boolean[] = [];
    connection.connected$.subscribe((state) => states.push(state));
    await server.crash();
    await vi.waitFor(() => {
      expect(states).toEqual([true, false, true]);
    }, 10_000);
    await connection.nc.flush();
  });

  test('keeps its URL', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'reentry-url-'));
    try {
      await using server = await aNatsServer({ directory });
      const { url } = server;
      await server.crash();
      expect(server.current().url).toBe(url);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe('unsafe subjects', () => {
  const { url } = sharedNatsServer();
  const LINES = ' 2\r\nhi\r\nPUB evil 2\r\nho\r\n';

  test.each([
    ['a line break', `a.b${LINES}`],
    ['a space', 'a b'],
    ['a tab', 'a.\tb'],
    ['a NUL', 'a.\0b'],
    ['a length that no server takes', 'a'.repeat(5_000)],
    ['nothing', ''],
  ])('are refused: %s', async (_, subject) => {
    await using connection = await connectNats({ ...base, servers: url() });
    await using observer = await connectNats({ ...base, name: 'observer', servers: url() });
    const received: string[] = [];
    observer.nc.subscribe('>', { callback: (_error, message) => received.push(message.subject) });
    await observer.nc.flush();
    const { nc } = connection;
    const js = nc.jetstream();
    expect(() => {
      nc.publish(subject, 'x');
    }).toThrow();
    if (subject !== '')
      expect(() => {
        nc.publish('right', 'x', { reply: subject });
      }).toThrow();
    expect(() => nc.subscribe(subject)).toThrow();
    await expect(nc.request(subject, 'x')).rejects.toThrow();
    await expect(js.publish(subject, 'x')).rejects.toThrow();
    nc.publish('right', 'x');
    await expect.poll(() => received).toContain('right');
    expect(received.filter((one) => one !== 'right')).toEqual([]);
    expect(nc.isClosed()).toBe(false);
  });

  test('are refused permanently, without retries', async () => {
    await using connection = await connectNats({ ...base, servers: url() });
    const js = connection.nc.jetstream();
    await expect(publishAcked({ js }, `a${LINES}`, 'x')).rejects.toMatchObject({ code: 'INTERNAL', transient: false });
  });
});
