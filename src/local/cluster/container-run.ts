import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, fstatSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { environment, expand } from './environment.ts';
import { LogFile, PREFIX_BYTES, type LogRotation } from './log-file.ts';
import { rfc3339, type KubeObject } from './objects.ts';
import { isSidecar, type Container, type PodSpec } from './pod.ts';
import type { ContainerView, Termination } from './pod-status.ts';
import type { Sandbox, Sandboxes } from './sandbox.ts';
import { DEFAULT_PATH } from './sandbox.ts';
import type { Store } from './store.ts';
import { mountsOf } from './volumes.ts';

/** Inputs of one start of one container. */
export interface ContainerStart {
  readonly sandboxes: Sandboxes;
  readonly store: Store;
  readonly pod: KubeObject;
  readonly spec: PodSpec;
  readonly container: Container;
  /** Number of this run of the container, from 0. */
  readonly attempt: number;
  /** The pod's directory. */
  readonly directory: string;
  readonly volumes: ReadonlyMap<string, string>;
  readonly rotation: LogRotation;
}

/** One start of one container. */
export interface ContainerRun {
  readonly containerID: string;
  readonly log: LogFile;
  readonly started: Sandbox['started'];
  readonly signal: Sandbox['signal'];
  readonly exec: Sandbox['exec'];
  /** How it ended. */
  readonly ended: Promise<Termination>;
}

/** The kubelet's limits for termination messages. */
const MAX_MESSAGE_BYTES = 4096;
const MAX_FALLBACK_BYTES = 2048;
const MAX_FALLBACK_LINES = 80;

/**
 * Starts a container once.
 * @throws ContainerConfigError when its environment cannot be built
 */
export async function startContainer(request: ContainerStart): Promise<ContainerRun> {
  const { store, pod, spec, container, attempt, directory, volumes } = request;
  const env = environment(store, pod, container);
  const runDirectory = join(directory, 'containers', container.name, String(attempt));
  await mkdir(runDirectory, { recursive: true });
  const messageFile = join(runDirectory, 'termination-log');
  await writeFile(messageFile, '');
  const log = new LogFile(join(runDirectory, 'log'), request.rotation);
  const mounts = await mountsOf(container, spec, volumes, (text) => expand(text, env));
  const hostname = spec.hostname ?? pod.metadata.name;
  const sandbox = await request.sandboxes.start({
    directory: join(runDirectory, 'sandbox'),
    hostname: hostname.slice(0, 63),
    workingDirectory: container.workingDir ?? '/',
    readOnlyRoot: container.securityContext?.readOnlyRootFilesystem === true,
    mounts: [
      ...mounts,
      { source: messageFile, target: container.terminationMessagePath ?? '/dev/termination-log', readOnly: false },
    ],
    env: { PATH: DEFAULT_PATH, HOSTNAME: hostname, HOME: '/root', ...env },
    command: commandOf(container).map((argument) => expand(argument, env)),
    output: (chunk) => {
      log.write(chunk);
    },
  });
  const containerID = `local://${randomBytes(32).toString('hex')}`;
  const startedAt = new Date();
  const ended = sandbox.ended.then(async (exitCode): Promise<Termination> => {
    log.end();
    const problem = await sandbox.started;
    const finishedAt = rfc3339(new Date());
    if (problem !== undefined) {
      const message = `failed to create containerd task: failed to create shim task: OCI runtime create failed: ${problem}: unknown`;
      return {
        exitCode: 128,
        reason: 'StartError',
        message,
        startedAt: '1970-01-01T00:00:00Z',
        finishedAt,
        containerID,
      };
    }
    const message = terminationMessage(messageFile, log, container, exitCode);
    await rm(messageFile, { force: true });
    return {
      exitCode,
      reason: exitCode === 0 ? 'Completed' : 'Error',
      ...(message !== '' && { message }),
      startedAt: rfc3339(startedAt),
      finishedAt,
      containerID,
    };
  });
  return { containerID, log, started: sandbox.started, signal: sandbox.signal, exec: sandbox.exec, ended };
}

/** Images are only names, so a container without a command has nothing to run: it succeeds at once. */
function commandOf({ command, args }: Container): readonly string[] {
  const words = [...command, ...args];
  return words.length === 0 ? ['sh', '-c', 'true'] : words;
}

function terminationMessage(path: string, log: LogFile, container: Container, exitCode: number): string {
  const message = endOf(path, MAX_MESSAGE_BYTES);
  if (message !== '' || container.terminationMessagePolicy !== 'FallbackToLogsOnError' || exitCode === 0)
    return message;
  const stored = readFileSync(log.path);
  const lines = stored
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .slice(-MAX_FALLBACK_LINES)
    .map((line) => line.slice(PREFIX_BYTES) + '\n');
  return Buffer.from(lines.join('')).subarray(-MAX_FALLBACK_BYTES).toString();
}

function endOf(path: string, maxBytes: number): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    // The container removed the file, so there is no message.
    return '';
  }
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, maxBytes));
    const bytes = readSync(fd, buffer, 0, buffer.length, Math.max(0, size - maxBytes));
    return buffer.subarray(0, bytes).toString();
  } finally {
    closeSync(fd);
  }
}

/** The kubelet's record of a container: its status, replaced on each change, and its current run. */
export interface ContainerSlot {
  readonly container: Container;
  view: ContainerView;
  run: ContainerRun | undefined;
  logs: readonly LogFile[];
}

/** The records of a pod's containers before anything has run: init containers and sidecars first, in their order. */
export function slotsOf(spec: PodSpec): readonly ContainerSlot[] {
  const slot = (container: Container, kind: ContainerView['kind']): ContainerSlot => {
    const reason = kind === 'main' && spec.initContainers.length === 0 ? 'ContainerCreating' : 'PodInitializing';
    const { name, image } = container;
    const state = { waiting: { reason } };
    const view = { name, image, kind, state, lastState: undefined, restartCount: 0, containerID: undefined };
    return { container, view, run: undefined, logs: [] };
  };
  return [
    ...spec.initContainers.map((container) => slot(container, isSidecar(container) ? 'sidecar' : 'init')),
    ...spec.containers.map((container) => slot(container, 'main')),
  ];
}
