import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parseConfig, Secret, SETTINGS } from '../../src/config.ts';
import { parseConnections } from '../../src/process/connections-file.ts';
import { ReentryError } from '../../src/errors.ts';

const problemsOf = (act: () => unknown): readonly { readonly path: string; readonly message: string }[] => {
  try {
    act();
  } catch (error) {
    if (error instanceof ReentryError) return error.problems;
    throw error;
  }
  return [];
};

describe('the settings table', () => {
  test('gives every setting one name in three spellings, a sentence and a value', () => {
    expect(SETTINGS.find(({ name }) => name === 'natsUrl')).toMatchObject({
      env: 'REENTRY_NATS_URL',
      flag: '--nats-url',
      default: 'nats://127.0.0.1:4222',
    });
    for (const { help, value } of SETTINGS) {
      expect(help).toMatch(/^[^\n]+\.$/);
      expect(value).not.toBe('');
    }
    expect(new Set(SETTINGS.map(({ env }) => env)).size).toBe(SETTINGS.length);
  });
});

describe('parseConfig', () => {
  test('knows a default for all that is needed, and freezes', () => {
    const config = parseConfig({});
    expect(config).toMatchObject({ tenant: 'default', queues: ['default'], httpPort: 8080, runRetentionDays: 7 });
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('prefers a flag to the environment, that to the file, and that to detected values', () => {
    const file = { name: 'f.yaml', content: { tenant: 'file', installation: 'file', natsUrl: 'nats://file:1' } };
    const env = { REENTRY_TENANT: 'env', REENTRY_INSTALLATION: 'env' };
    const found = { natsUrl: 'nats://found:1', namespaces: 'found' };
    const config = parseConfig({ flags: { tenant: 'flag' }, env, file, found });
    expect(config.tenant).toBe('flag');
    expect(config.installation).toBe('env');
    expect(config.natsUrl).toBe('nats://file:1');
    expect(config.namespaces).toEqual(['found']);
  });

  test('an empty variable counts as unset, and KUBECONFIG is taken as usual', () => {
    const config = parseConfig({ env: { REENTRY_TENANT: '', KUBECONFIG: '/k' } });
    expect(config.tenant).toBe('default');
    expect(config.kubeconfig).toBe('/k');
    expect(parseConfig({ env: { KUBECONFIG: '/k', REENTRY_KUBECONFIG: '/own' } }).kubeconfig).toBe('/own');
  });

  test('names all problems at once, under the names the user wrote', () => {
    const problems = problemsOf(() =>
      parseConfig({
        flags: { httpPort: 'eighty' },
        env: { REENTRY_QUEUES: 'a,not a queue', REENTRY_NATS_URI: 'x' },
        file: { name: 'f.yaml', content: { tenat: 'x', replicas: 2 } },
      }),
    );
    expect(problems.map(({ path }) => path).sort()).toEqual([
      '--http-port',
      'REENTRY_NATS_URI',
      'REENTRY_QUEUES',
      'f.yaml: replicas',
      'f.yaml: tenat',
    ]);
    expect(problems.find(({ path }) => path === 'REENTRY_NATS_URI')?.message).toContain(
      'did you mean REENTRY_NATS_URL?',
    );
    expect(problems.find(({ path }) => path === 'f.yaml: tenat')?.message).toContain('did you mean tenant?');
  });

  test('names the invalid part of a list or table', () => {
    const problems = problemsOf(() =>
      parseConfig({ flags: { queues: 'a,not a queue', concurrencyLimits: 'db=2,sales/gpu=0' } }),
    );
    expect(problems.map(({ path, message }) => `${path}: ${message.split(':')[0] ?? ''}`).sort()).toEqual([
      '--concurrency-limits: sales/gpu',
      '--queues: part 2',
    ]);
  });

  test('requires a certificate and its key together', () => {
    const problems = problemsOf(() => parseConfig({ flags: { natsTlsCert: '/c' }, env: { REENTRY_HTTP_PORT: 'x' } }));
    expect(problems.map(({ path }) => path).sort()).toEqual(['--nats-tls-cert', 'REENTRY_HTTP_PORT']);
    expect(problems[0]?.message).toContain('REENTRY_NATS_TLS_KEY');
    expect(problemsOf(() => parseConfig({ flags: { natsTlsCert: '/c', natsTlsKey: '/k' } }))).toEqual([]);
  });

  test('accepts only servers that a role can connect to', () => {
    expect(problemsOf(() => parseConfig({ flags: { natsUrl: 'nats://a, tls://b:1' } }))).toEqual([]);
    expect(problemsOf(() => parseConfig({ flags: { natsUrl: 'wss://a' } })).map(({ path }) => path)).toEqual([
      '--nats-url',
    ]);
  });

  test('ignores variables of other programs', () => {
    expect(problemsOf(() => parseConfig({ env: { PATH: '/bin', REENTRY_CONFIG: 'f.yaml' } }))).toEqual([]);
  });
});

describe('secrets', () => {
  test('no way of printing a config shows them', () => {
    const config = parseConfig({ env: { REENTRY_NATS_TOKEN: 'hush' } });
    expect(config.natsToken?.reveal()).toBe('hush');
    for (const print of [JSON.stringify(config), inspect(config), String(new Secret('hush'))])
      expect(print).not.toContain('hush');
  });
});

describe('parseConnections', () => {
  test('reads YAML and JSON', () => {
    expect(parseConnections('c.yaml', 'default: { kubeconfig: /k, context: a }')).toEqual({
      default: { kubeconfig: '/k', context: 'a' },
    });
    expect(parseConnections('c.json', '{"eu":{"inCluster":true,"namespace":"jobs"}}')).toEqual({
      eu: { inCluster: true, namespace: 'jobs' },
    });
  });

  test('names the field and the nearest valid one', () => {
    const sidecar = { image: 'mirror/alpine', resources: { limits: { cpu: '1' } }, securityContext: { runAsUser: 9 } };
    expect(parseConnections('c.json', JSON.stringify({ eu: { xcomSidecar: sidecar } }))).toEqual({
      eu: { xcomSidecar: sidecar },
    });
    expect(() => parseConnections('c.yaml', 'eu: { xcomSidecar: { img: x } }')).toThrow('eu.xcomSidecar');
    const problems = problemsOf(() => parseConnections('c.yaml', 'default: { kubeconfg: /k }'));
    expect(problems[0]?.message).toContain('did you mean kubeconfig?');
  });

  test('refuses a misspelt variable, and ignores other programs’ variables that begin with REENTRY_', () => {
    expect(problemsOf(() => parseConfig({ env: { REENTRY_QUEUE: 'a' } }))).toMatchObject([{ path: 'REENTRY_QUEUE' }]);
    const foreign = { REENTRY_WORKER_SERVICE_HOST: '10.0.0.1', REENTRY_CLUSTER: 'x', REENTRY_ORACLE: 'y' };
    expect(problemsOf(() => parseConfig({ env: foreign }))).toEqual([]);
  });
});
