import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { ExecOptions } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';

describe.each(TARGETS)('commands in containers on $name', ({ start }) => {
  let k: ClusterUnderTest;
  let ns: string;
  let pod: PodProjection;
  beforeAll(async () => {
    k = await start();
    ns = await k.namespace();
    const script = 'trap "exit 0" TERM; while true; do sleep 0.2; done';
    const env = [{ name: 'COLOUR', value: 'blue' }];
    const made = await k.cluster.createPod(
      ns,
      k.pod({
        script,
        spec: {
          containers: [{ name: 'base', image: 'busybox', command: ['sh', '-c', script], env, workingDir: '/tmp' }],
        },
      }),
    );
    pod = await k.until(k.cluster.project(made.pod), ({ containers }) => containers[0]?.state === 'running');
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });
  const run = async (script: string, more: Partial<ExecOptions> = {}) => {
    const outcome = await k.cluster.exec(pod, { container: 'base', command: ['sh', '-c', script], ...more });
    if (outcome.kind !== 'ended') throw new Error(`it was ${outcome.kind}`);
    return { ...outcome, stdout: Buffer.from(outcome.stdout).toString() };
  };

  test('return both streams separately, and the exit code', async () => {
    const outcome = await run('echo out; echo err >&2; exit 3');
    expect(outcome).toEqual({ kind: 'ended', exitCode: 3, stdout: 'out\n', stderr: 'err\n' });
  });

  test('run beside the container’s own process, with its environment and directory', async () => {
    const outcome = await run('echo $COLOUR; pwd; tr "\\0" " " </proc/1/cmdline');
    expect(outcome.stdout).toMatch(/^blue\n\/tmp\nsh -c trap /);
    expect(outcome.exitCode).toBe(0);
  });

  test('return every byte of a megabyte', async () => {
    const outcome = await run('head -c 1000000 /dev/zero | tr "\\0" x', { maxBytes: 1_000_000 });
    expect(outcome.stdout.length).toBe(1_000_000);
    expect(new Set(outcome.stdout)).toEqual(new Set(['x']));
  });

  test('are abandoned when they write more than the limit', async () => {
    const command = ['head', '-c', '1000001', '/dev/zero'];
    const outcome = await k.cluster.exec(pod, { container: 'base', command, maxBytes: 1_000_000 });
    expect(outcome).toEqual({ kind: 'tooLarge', maxBytes: 1_000_000 });
  });

  test('read their stdin to its end', async () => {
    expect(await run('cat; echo .', { stdin: 'one\ntwo' })).toMatchObject({ stdout: 'one\ntwo.\n', exitCode: 0 });
  });

  test('that do not exist are an error with their name', async () => {
    const asked = k.cluster.exec(pod, { container: 'base', command: ['no-such-program'] });
    await expect(asked).rejects.toThrow(/no-such-program/);
  });

  test('in a missing container or pod are an error', async () => {
    const command = ['true'];
    await expect(k.cluster.exec(pod, { container: 'other', command })).rejects.toMatchObject({ fault: 'invalid' });
    const gone = { ...pod, name: 'missing' };
    await expect(k.cluster.exec(gone, { container: 'base', command })).rejects.toMatchObject({ fault: 'notFound' });
  });

  test('in a container that has ended are an error', async () => {
    const made = await k.cluster.createPod(ns, k.pod({ script: 'true' }));
    const ended = await k.until(k.cluster.project(made.pod), ({ phase }) => phase === 'Succeeded');
    const asked = k.cluster.exec(ended, { container: 'base', command: ['true'] });
    await expect(asked).rejects.toMatchObject({ code: 'KUBERNETES' });
  });

  test('that do not end are abandoned at their deadline', async () => {
    const asked = run('sleep 600', { timeoutMs: 1_000 });
    await expect(asked).rejects.toMatchObject({ fault: 'unknownOutcome', reason: 'Timeout' });
  });

  test('are abandoned when their caller aborts', async () => {
    const stop = new AbortController();
    const asked = run('sleep 600', { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });
});
