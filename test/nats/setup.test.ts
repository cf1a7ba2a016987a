import { describe, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { isAtLeast, setup } from '../../src/nats/setup.ts';
import { consumers } from '../../src/wire/streams.ts';
import { setUp, sharedNatsServer } from '../support/nats-server.ts';
import { DEFAULTS } from '../support/defaults.ts';

const { url } = sharedNatsServer();
let nth = 0;
const anEmptyInstallation = () => ({ servers: url(), root: `setup${++nth}`, assetPrefix: `SETUP${nth}_` });

describe('setup', () => {
  test('creates everything once and changes nothing the second time', async () => {
    const options = anEmptyInstallation();
    const settings = { workerQueues: ['default', 'gpu'], subscribers: [{ tenant: 'a.b', name: 'billing' }] };
    const first = await setUp(options, settings);
    expect(new Set(first.map(({ did }) => did))).toEqual(new Set(['created']));
    const second = await setUp(options, settings);
    expect(second.map(({ name }) => name)).toEqual(first.map(({ name }) => name));
    expect(new Set(second.map(({ did }) => did))).toEqual(new Set(['unchanged']));
  });

  test('two at the same time both succeed', async () => {
    const options = anEmptyInstallation();
    await Promise.all([setUp(options), setUp(options)]);
    expect(new Set((await setUp(options)).map(({ did }) => did))).toEqual(new Set(['unchanged']));
  });

  test('corrects what drifted', async () => {
    const options = anEmptyInstallation();
    await setUp(options);
    await using connection = await connectNats({ ...options, role: 'setup', name: 'drift' });
    const { assets } = layoutFrom(options);
    const jsm = await connection.nc.jetstreamManager();
    await jsm.streams.update(assets.events, { max_age: 0, allow_direct: false });
    await jsm.consumers.update(assets.runs, consumers.intake('default'), { ack_wait: 1e9 });
    const changed = (await setUp(options)).filter(({ did }) => did === 'updated').map(({ name }) => name);
    expect(changed).toEqual([assets.events, consumers.intake('default')]);
    expect((await jsm.streams.info(assets.events)).config.allow_direct).toBe(true);
    expect((await jsm.consumers.info(assets.runs, consumers.intake('default'))).config.ack_wait).toBe(10e9);
  });

  test('does not change queues set up by others', async () => {
    const options = anEmptyInstallation();
    await setUp(options, { workerQueues: ['gpu'], executorQueues: [] });
    await setUp(options, { workerQueues: ['default'], executorQueues: [] });
    await using connection = await connectNats({ ...options, role: 'setup', name: 'look' });
    const { assets, subjects } = layoutFrom(options);
    const { config } = await (await connection.nc.jetstreamManager()).streams.info(assets.runs);
    expect([...config.subjects].sort()).toEqual([subjects.run.queue('default'), subjects.run.queue('gpu')]);
  });

  test('refuses a stream that cannot be changed to match the table', async () => {
    const options = anEmptyInstallation();
    const { assets } = layoutFrom(options);
    await using connection = await connectNats({ ...options, role: 'setup', name: 'before' });
    await (
      await connection.nc.jetstreamManager()
    ).streams.add({ name: assets.runs, subjects: [`${options.root}.run.>`] });
    await expect(setUp(options)).rejects.toMatchObject({
      code: 'NATS_MISMATCH',
      message: expect.stringMatching(
        new RegExp(`stream ${assets.runs} exists with retention "limits" .*REENTRY_ASSET_PREFIX`),
      ),
    });
  });

  test('refuses subjects of another stream', async () => {
    const options = anEmptyInstallation();
    await setUp(options);
    await expect(setUp({ ...options, assetPrefix: 'OTHER_' })).rejects.toMatchObject({
      code: 'NATS_MISMATCH',
      message: expect.stringContaining('another stream has some of its subjects'),
    });
  });

  test('refuses more replicas than there are servers', async () => {
    await expect(setUp(anEmptyInstallation(), { replicas: 3 })).rejects.toMatchObject({
      code: 'NATS_MISMATCH',
      message: expect.stringContaining('replicas'),
    });
  });

  test('refuses to turn a queue of workers into one of executors', async () => {
    const options = anEmptyInstallation();
    await setUp(options, { workerQueues: ['q'], executorQueues: [] });
    await expect(setUp(options, { workerQueues: [], executorQueues: ['q'] })).rejects.toMatchObject({
      code: 'NATS_MISMATCH',
    });
  });

  test('reports all invalid names at once', async () => {
    const settings = { workerQueues: ['a b', 'x'], executorQueues: ['x'], subscribers: [{ tenant: '', name: 'n_n' }] };
    await expect(setUp(anEmptyInstallation(), settings)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      problems: [{ path: 'queues' }, { path: 'queues' }, { path: 'subscribers' }],
    });
  });

  test('refuses a server that is too old', async () => {
    await using connection = await connectNats({ servers: url(), role: 'setup', name: 'old' });
    const old: typeof connection.nc = Object.create(connection.nc, {
      info: { value: { ...connection.nc.info, version: '2.9.10' } },
    });
    await expect(setup(old, layoutFrom({}), DEFAULTS.streams)).rejects.toMatchObject({
      message: 'nats-server 2.9.10 is too old; reentry needs 2.10.23 or newer',
    });
  });

  test.each([
    ['2.10.23', true],
    ['2.10.22', false],
    ['2.9.99', false],
    ['2.15.2', true],
    ['3.0.0', true],
    ['2.11.0-RC.1', true],
  ])('%s is new enough: %s', (version, enough) => {
    expect(isAtLeast(version, '2.10.23')).toBe(enough);
  });
});
