import { readdirSync, readFileSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startLocalCluster } from '../../src/local/cluster.ts';
import { PODS, podOf, startTestbed, type Testbed } from './testbed.ts';

let bed: Testbed;
beforeAll(async () => {
  bed = await startTestbed({ restartBackoffMs: 50 });
});
afterAll(async () => {
  await bed[Symbol.asyncDispose]();
});

const phase = (name: string) =>
  expect.poll(async () => (await bed.pod(name)).status.phase, { timeout: 20_000, interval: 30 });
const ended = async (name: string) => (await bed.pod(name)).status.containerStatuses[0]?.state.terminated;
const main = (fields: object) => ({ containers: [{ name: 'main', image: 'busybox', ...fields }] });

/** Command lines of processes that belong to a directory. */
function containersOf(directory: string): readonly string[] {
  return readdirSync('/proc').flatMap((entry) => {
    try {
      const line = /^\d+$/.test(entry) ? readFileSync(`/proc/${entry}/cmdline`, 'utf8') : '';
      return line.includes(join(directory, 'container.sh')) ? [line] : [];
    } catch {
      return [];
    }
  });
}

describe('a container', () => {
  test('has its own /tmp, processes and host name, and cannot write to the machine', async () => {
    await bed.run(
      'isolated',
      'ls -A /tmp; echo mine >/tmp/x && cat /tmp/x; touch /usr/no /etc/no 2>&1 | wc -l; echo $$$$; hostname; touch /free && echo root',
    );
    await phase('isolated').toBe('Succeeded');
    expect(await bed.log('isolated')).toBe('mine\n2\n1\nisolated\nroot\n');
  });

  test('has the usual devices', async () => {
    await bed.run(
      'devices',
      'echo gone >/dev/null; head -c 4 /dev/zero | wc -c; echo out >/dev/stdout; echo err >/dev/stderr; test -w /dev/shm',
    );
    await phase('devices').toBe('Succeeded');
    expect(await bed.log('devices')).toBe('4\nout\nerr\n');
  });

  test('can have a read-only root', async () => {
    await bed.run('fixed', '', main({ command: ['touch', '/x'], securityContext: { readOnlyRootFilesystem: true } }));
    await phase('fixed').toBe('Failed');
    expect(await bed.log('fixed')).toContain('Read-only file system');
  });

  test('leaves a message for its status, at most 4096 bytes of it, or the end of its log', async () => {
    await bed.run('message', `yes 123456789 | head -c 5000 >/dev/termination-log; echo -n end >>/dev/termination-log`);
    await bed.run(
      'fallback',
      '',
      main({ command: ['sh', '-c', 'echo the reason; exit 1'], terminationMessagePolicy: 'FallbackToLogsOnError' }),
    );
    await phase('message').toBe('Succeeded');
    await phase('fallback').toBe('Failed');
    const message = (await ended('message'))?.message ?? '';
    expect([message.length, message.slice(-3)]).toEqual([4096, 'end']);
    expect((await ended('fallback'))?.message).toBe('the reason\n');
  });

  test('ends with its exit code, or 128 and the number of the signal', async () => {
    await bed.run('code', 'exit 42');
    await bed.run('killed', '', main({ command: ['sh', '-c', 'sh -c "kill -9 \\$\\$"'] }));
    await phase('code').toBe('Failed');
    await phase('killed').toBe('Failed');
    expect(await ended('code')).toMatchObject({ exitCode: 42, reason: 'Error' });
    expect(await ended('killed')).toMatchObject({ exitCode: 137 });
  });

  test('that cannot be started reports why', async () => {
    await bed.run('nothing', '', main({ command: ['no-such-program'] }));
    await phase('nothing').toBe('Failed');
    const end = await ended('nothing');
    expect(end).toMatchObject({ exitCode: 128, reason: 'StartError', startedAt: '1970-01-01T00:00:00Z' });
    expect(end?.message).toContain('"no-such-program": executable file not found in $PATH');
  });

  test('has the environment, directory and volumes that its pod describes', async () => {
    await bed.request('POST', '/api/v1/namespaces/default/secrets', {
      metadata: { name: 's' },
      stringData: { key: 'secret value' },
    });
    await bed.request('POST', '/api/v1/namespaces/default/configmaps', {
      metadata: { name: 'c' },
      data: { A: '1', 'file.txt': 'content' },
    });
    const env = [
      { name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'TEAM', valueFrom: { fieldRef: { fieldPath: "metadata.labels['team']" } } },
      { name: 'KEY', valueFrom: { secretKeyRef: { name: 's', key: 'key' } } },
      { name: 'BOTH', value: '$(NAME)-$(TEAM)-$(UNKNOWN)-$$(NAME)' },
    ];
    const volumeMounts = [
      { name: 'space', mountPath: '/space' },
      { name: 'all', mountPath: '/etc/app', readOnly: true },
    ];
    const command = [
      'sh',
      '-c',
      'echo "$A $KEY $BOTH"; pwd; echo $0; cat /etc/app/given/file /etc/app/name; echo x >/space/y; touch /etc/app/z || true',
      'arg $(NAME)',
    ];
    const sources = [
      { configMap: { name: 'c', items: [{ key: 'file.txt', path: 'given/file' }] } },
      { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
    ];
    const spec = {
      ...main({
        command,
        env,
        envFrom: [{ configMapRef: { name: 'c' } }],
        volumeMounts: volumeMounts.slice(0, 1),
        workingDir: '/srv/here',
      }),
      volumes: [
        { name: 'space', emptyDir: {} },
        { name: 'all', projected: { sources } },
      ],
    };
    // Mount points that exist on the machine cannot be made in its read-only directories.
    const at = volumeMounts.map((mount) => ({ ...mount, mountPath: mount.mountPath.replace('/etc/', '/srv/') }));
    const script = command.map((word) => word.replaceAll('/etc/app', '/srv/app'));
    await bed.run(
      'described',
      '',
      { ...spec, ...main({ ...spec.containers[0], command: script, volumeMounts: at }) },
      { labels: { team: 'blue' } },
    );
    await phase('described').toBe('Succeeded');
    const lines = (await bed.log('described')).split('\n');
    expect(lines.slice(0, 3)).toEqual([
      '1 secret value described-blue-$(UNKNOWN)-$(NAME)',
      '/srv/here',
      'arg described',
    ]);
    expect(lines[3]).toBe("contentdescribedtouch: cannot touch '/srv/app/z': Read-only file system");
  });

  test('waits for a secret that is missing, with the reason', async () => {
    const env = [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'later', key: 'key' } } }];
    await bed.run('waiting', '', main({ command: ['sh', '-c', 'echo $KEY'], env }));
    await expect
      .poll(async () => (await bed.pod('waiting')).status.containerStatuses[0]?.state.waiting)
      .toEqual({
        reason: 'CreateContainerConfigError',
        message: 'secret "later" not found',
      });
    await bed.request('POST', '/api/v1/namespaces/default/secrets', {
      metadata: { name: 'later' },
      stringData: { key: 'come' },
    });
    await phase('waiting').toBe('Succeeded');
    expect(await bed.log('waiting')).toBe('come\n');
  });

  test('with an image that cannot be pulled waits in back-off', async () => {
    await bed.run('absent', '', main({ image: 'missing/image:1' }));
    await expect
      .poll(async () => (await bed.pod('absent')).status.containerStatuses[0]?.state.waiting?.reason, { timeout: 5000 })
      .toBe('ImagePullBackOff');
    expect(await bed.object('GET', `${PODS}/absent/log`)).toMatchObject({
      code: 400,
      message: 'container "main" in pod "absent" is waiting to start: trying and failing to pull image',
    });
    await bed.request('DELETE', `${PODS}/absent`);
    await expect.poll(async () => (await bed.request('GET', `${PODS}/absent`)).status).toBe(404);
  });
});

describe('a pod', () => {
  test('runs its init containers in order, its sidecar beside the others', async () => {
    const mount = { volumeMounts: [{ name: 'v', mountPath: '/v' }], image: 'busybox' };
    const sh = (name: string, script: string, more: object = {}) => ({
      name,
      command: ['sh', '-c', script],
      ...mount,
      ...more,
    });
    await bed.run('ordered', '', {
      volumes: [{ name: 'v', emptyDir: {} }],
      initContainers: [
        sh('first', 'echo 1 >>/v/order'),
        sh('beside', 'trap "exit 0" TERM; echo 2 >>/v/order; touch /v/up; while :; do sleep 0.05; done', {
          restartPolicy: 'Always',
        }),
        sh('last', 'until [ -e /v/up ]; do sleep 0.02; done; echo 3 >>/v/order'),
      ],
      containers: [sh('main', 'cat /v/order')],
    });
    await phase('ordered').toBe('Succeeded');
    expect(await bed.log('ordered', 'container=main')).toBe('1\n2\n3\n');
    const { initContainerStatuses } = (await bed.pod('ordered')).status;
    expect(initContainerStatuses.map(({ name, state }) => [name, state.terminated?.exitCode])).toEqual([
      ['first', 0],
      ['beside', 0],
      ['last', 0],
    ]);
  });

  test('fails when an init container fails', async () => {
    await bed.run('uninitialized', 'echo never', {
      initContainers: [{ name: 'init', image: 'x', command: ['sh', '-c', 'exit 7'] }],
    });
    await phase('uninitialized').toBe('Failed');
    const { status } = await bed.pod('uninitialized');
    expect(status.initContainerStatuses[0]?.state.terminated?.exitCode).toBe(7);
    expect(status.containerStatuses[0]?.state.waiting?.reason).toBe('PodInitializing');
  });

  test('restarts a failing container until it succeeds, with restartPolicy OnFailure', async () => {
    await bed.run('again', 'echo x >>/v/n; [ $(wc -l </v/n) -ge 3 ]', {
      restartPolicy: 'OnFailure',
      volumes: [{ name: 'v', emptyDir: {} }],
      ...main({
        command: ['sh', '-c', 'echo run; echo x >>/v/n; [ $(wc -l </v/n) -ge 3 ]'],
        volumeMounts: [{ name: 'v', mountPath: '/v' }],
      }),
    });
    await phase('again').toBe('Succeeded');
    const [status] = (await bed.pod('again')).status.containerStatuses;
    expect([status?.restartCount, status?.lastState.terminated?.exitCode]).toEqual([2, 1]);
    expect(await bed.log('again', 'previous=true')).toBe('run\n');
  });

  test('that is deleted gets SIGTERM, ends, turns terminal and is gone', async () => {
    await bed.run('graceful', 'trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.05; done');
    await expect.poll(async () => await bed.log('graceful')).toBe('ready\n');
    const watch = await bed.watch('fieldSelector=metadata.name=graceful');
    expect((await watch.next())?.type).toBe('ADDED');
    expect((await bed.object('DELETE', `${PODS}/graceful`)).metadata.deletionTimestamp).toBeDefined();
    const seen = [];
    for (let event = await watch.next(); event !== undefined; event = await watch.next()) {
      seen.push([event.type, event.object['status']]);
      if (event.type === 'DELETED') break;
    }
    watch.close();
    expect(seen.at(-1)).toMatchObject([
      'DELETED',
      { phase: 'Failed', containerStatuses: [{ state: { terminated: { exitCode: 5 } } }] },
    ]);
    expect(seen.at(-2)).toMatchObject(['MODIFIED', { phase: 'Failed' }]);
  });

  test('that is deleted gets one SIGTERM, its sidecar after it', async () => {
    const onTerm = (name: string, more: object = {}) => ({
      name,
      image: 'busybox',
      command: ['sh', '-c', `trap "echo ${name}; sleep 0.2; exit 0" TERM; echo up; while :; do sleep 0.02; done`],
      ...more,
    });
    await bed.run('pair', '', {
      initContainers: [onTerm('beside', { restartPolicy: 'Always' })],
      containers: [onTerm('main')],
    });
    for (const name of ['main', 'beside']) {
      await expect.poll(async () => await bed.log('pair', `container=${name}`), { timeout: 5000 }).toBe('up\n');
    }
    const logs = Promise.all(
      ['main', 'beside'].map((name) => bed.log('pair', `container=${name}&follow=true&timestamps=true`)),
    );
    await bed.request('DELETE', `${PODS}/pair`);
    const [main = [], beside = []] = (await logs).map((log) =>
      log
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' ')),
    );
    expect([main, beside].map((lines) => lines.map(([, text]) => text))).toEqual([
      ['up', 'main'],
      ['up', 'beside'],
    ]);
    const termAt = (lines: string[][]): string => lines[1]?.[0] ?? '';
    expect(termAt(main) < termAt(beside)).toBe(true);
  });

  test('that ignores SIGTERM is killed when its grace is over', async () => {
    await bed.run('stubborn', 'trap "" TERM; echo ready; while :; do sleep 0.05; done', {
      activeDeadlineSeconds: 1,
      terminationGracePeriodSeconds: 1,
    });
    await phase('stubborn').toBe('Failed');
    expect((await bed.pod('stubborn')).status.reason).toBe('DeadlineExceeded');
    expect((await ended('stubborn'))?.exitCode).toBe(137);
  });

  test('that fits no node stays pending, unschedulable', async () => {
    await bed.run('nowhere', 'true', { nodeSelector: { 'kubernetes.io/hostname': 'elsewhere' } });
    const scheduled = async () =>
      (await bed.pod('nowhere')).status.conditions.find(({ type }) => type === 'PodScheduled');
    await expect.poll(scheduled).toMatchObject({ status: 'False', reason: 'Unschedulable' });
    await bed.request('DELETE', `${PODS}/nowhere`);
    expect((await bed.request('GET', `${PODS}/nowhere`)).status).toBe(404);
  });

  test('can be one of thousands that run no process', async () => {
    const made = Array.from({ length: 1000 }, (_, index) => `fake-${String(index)}`);
    const annotations = { 'local.reentry.dev/run-for': '0.2', 'local.reentry.dev/exit-code': '3' };
    await Promise.all(made.map((name) => bed.run(name, 'true', {}, { annotations, labels: { fake: 'yes' } })));
    const failed = async () =>
      (await bed.object('GET', `${PODS}?labelSelector=fake&fieldSelector=status.phase=Failed`)).items?.length;
    await expect.poll(failed, { timeout: 20_000 }).toBe(1000);
    expect((await ended('fake-7'))?.exitCode).toBe(3);
    await bed.request('DELETE', `${PODS}?labelSelector=fake`);
    expect((await bed.object('GET', `${PODS}?labelSelector=fake`)).items).toEqual([]);
  });
});

test('twenty pods at once all end', async () => {
  const names = Array.from({ length: 20 }, (_, index) => `many-${String(index)}`);
  await Promise.all(names.map((name) => bed.run(name, 'echo $HOSTNAME')));
  for (const name of names) await phase(name).toBe('Succeeded');
  expect(await Promise.all(names.map((name) => bed.log(name)))).toEqual(names.map((name) => `${name}\n`));
});

/** A server in a process of its own, with one container that does not end. */
async function startElsewhere(directory: string): Promise<ChildProcess> {
  const source = new URL('../../src/local/cluster.ts', import.meta.url).href;
  const pod = JSON.stringify(podOf('orphan', 'while :; do sleep 1; done'));
  const script = `
    import { Agent, fetch } from '${import.meta.resolve('undici')}';
    import { startLocalCluster } from '${source}';
    const cluster = await startLocalCluster({ directory: ${JSON.stringify(directory)} });
    const dispatcher = new Agent({ connect: { ca: cluster.ca } });
    const authorization = 'Bearer ' + cluster.token;
    await fetch(cluster.url + '${PODS}', { dispatcher, method: 'POST', headers: { authorization }, body: ${JSON.stringify(pod)} });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  await expect
    .poll(() => containersOf(directory).some((line) => line.includes('orphan')), { timeout: 10_000 })
    .toBe(true);
  return child;
}

describe('no container', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'reentry-local-'));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  test('outlives its server, even one that is killed', async () => {
    const child = await startElsewhere(directory);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expect.poll(() => containersOf(directory)).toEqual([]);
  });

  test('of an earlier server is left by a new one of the same directory', async () => {
    const child = await startElsewhere(directory);
    // It hangs: alive, and with it its container.
    child.kill('SIGSTOP');
    const cluster = await startLocalCluster({ directory });
    await expect.poll(() => containersOf(directory)).toEqual([]);
    await cluster[Symbol.asyncDispose]();
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
});
