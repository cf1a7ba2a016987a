/** Finds a nats-server program: the configured one, on the PATH, in the user's cache, or downloaded once. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, constants, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { ReentryError } from '../errors.ts';

const run = promisify(execFile);

/** Older versions can lose streams in a crash. */
const MIN_VERSION = [2, 10, 23] as const;

/**
 * The release that is downloaded, with the checksums that the official images use.
 * @see https://github.com/nats-io/nats-docker/blob/main/2.10.x/alpine3.22/Dockerfile
 */
const RELEASE = {
  version: '2.10.29',
  sha256: {
    'linux-x64': { name: 'linux-amd64', digest: 'e314da74a83a1d3876db8814c27eb990fe729640fd6452025b441bcede8390da' },
    'linux-arm64': { name: 'linux-arm64', digest: 'da4b27942ecfb4c5f0c54553d2e7f470ddda9d7581cfe8131b351a0e223ed401' },
  },
} as const;

/** Time limits of the download: until the reply begins, and until it is complete. */
const ANSWER_WITHIN_MS = 5_000;
const DOWNLOAD_WITHIN_MS = 60_000;
const BUILD_WITHIN_MS = 300_000;

/** Where to search, and how to report progress. */
export interface FindOptions {
  /** `REENTRY_NATS_SERVER`: path of the program. If set, no other is searched. */
  readonly explicitPath?: string | undefined;
  /** The caller's `PATH`. */
  readonly path?: string | undefined;
  /** reentry's cache directory of the user; filled when no other program is found. */
  readonly cacheDirectory: string;
  /** Receives messages before steps that take time. */
  readonly progress?: (message: string) => void;
}

/** A usable program. */
export interface FoundServer {
  readonly program: string;
  readonly version: string;
}

/**
 * Finds a nats-server of version 2.10.23 or newer.
 * @throws ReentryError NATS_SERVER_MISSING with what was tried and what to install
 */
export async function findNatsServer(options: FindOptions): Promise<FoundServer> {
  const tried: string[] = [];
  const look = async (program: string, where: string) => {
    const version = await versionOf(program);
    if (version === undefined) return undefined;
    if (isRecent(version)) return { program, version };
    tried.push(`${where} has ${version}`);
    return undefined;
  };

  if (options.explicitPath !== undefined) {
    const found = await look(options.explicitPath, options.explicitPath);
    if (found !== undefined) return found;
    throw missing(
      `REENTRY_NATS_SERVER names ${options.explicitPath}, which is no nats-server ${MIN_VERSION.join('.')} or newer`,
    );
  }
  for (const directory of (options.path ?? '').split(delimiter).filter(Boolean)) {
    const found = await look(join(directory, 'nats-server'), directory);
    if (found !== undefined) return found;
  }
  if (tried.length === 0) tried.push('none on the PATH');
  const cached = join(options.cacheDirectory, `nats-server-${RELEASE.version}`);
  const kept = await look(cached, cached);
  if (kept !== undefined) return kept;

  await mkdir(options.cacheDirectory, { recursive: true });
  for (const bring of [download, build]) {
    // Created beside its final path and moved there, so that two processes doing this at the same time never see half a file.
    const directory = await mkdtemp(join(options.cacheDirectory, 'bring-'));
    try {
      const program = await bring(directory, options);
      await chmod(program, 0o755);
      await rename(program, cached);
      const found = await look(cached, cached);
      if (found !== undefined) return found;
    } catch (error) {
      tried.push(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error));
    } finally {
      // Files of Go's module cache are read-only.
      await run('chmod', ['-R', 'u+w', directory]).catch(() => undefined);
      await rm(directory, { recursive: true, force: true });
    }
  }
  throw missing(tried.join('; '));
}

const missing = (why: string) =>
  new ReentryError(
    'NATS_SERVER_MISSING',
    `no nats-server to start (${why}); install nats-server ${MIN_VERSION.join('.')} or newer (https://nats.io/download) on the PATH, set REENTRY_NATS_SERVER to its path, or install Go so that it can be built`,
    { transient: false },
  );

async function versionOf(program: string): Promise<string | undefined> {
  try {
    await access(program, constants.X_OK);
    const { stdout } = await run(program, ['--version'], { timeout: 10_000 });
    return /v(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined; // missing, or not a program for this machine: try the next source
  }
}

function isRecent(version: string): boolean {
  const numbers = version.split('.').map(Number);
  for (const [i, least] of MIN_VERSION.entries()) {
    const have = numbers[i] ?? 0;
    if (have !== least) return have > least;
  }
  return true;
}

async function download(directory: string, { progress }: FindOptions): Promise<string> {
  const asset = Object.entries(RELEASE.sha256).find(
    ([machine]) => machine === `${process.platform}-${process.arch}`,
  )?.[1];
  if (asset === undefined) throw new Error(`no pinned release for ${process.platform}-${process.arch}`);
  const name = `nats-server-v${RELEASE.version}-${asset.name}`;
  const url = `https://github.com/nats-io/nats-server/releases/download/v${RELEASE.version}/${name}.tar.gz`;
  progress?.(`fetching nats-server ${RELEASE.version} once, from github.com`);
  const abort = new AbortController();
  const answer = setTimeout(() => {
    abort.abort(new Error('no reply in time'));
  }, ANSWER_WITHIN_MS);
  let archive: Buffer;
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([abort.signal, AbortSignal.timeout(DOWNLOAD_WITHIN_MS)]),
    });
    clearTimeout(answer);
    if (!response.ok) throw new Error(`status ${response.status}`);
    archive = Buffer.from(await response.arrayBuffer());
  } catch (cause) {
    throw new Error('the release could not be downloaded from github.com', { cause });
  } finally {
    clearTimeout(answer);
  }
  const digest = createHash('sha256').update(archive).digest('hex');
  if (digest !== asset.digest)
    throw new Error(`the release has checksum ${digest} instead of ${asset.digest}; it is not used`);
  await writeFile(join(directory, 'release.tar.gz'), archive);
  await run('tar', ['-xzf', 'release.tar.gz'], { cwd: directory });
  return join(directory, name, 'nats-server');
}

async function build(directory: string, { progress, path }: FindOptions): Promise<string> {
  progress?.(`building nats-server ${RELEASE.version} once with go install; this takes a minute`);
  const go = await goProgram(path ?? '');
  // Uses the user's module cache and proxy settings; a cache of its own would be lost with the directory.
  await run('env', [`GOBIN=${directory}`, go, 'install', `github.com/nats-io/nats-server/v2@v${RELEASE.version}`], {
    timeout: BUILD_WITHIN_MS,
  });
  return join(directory, 'nats-server');
}

async function goProgram(path: string): Promise<string> {
  for (const directory of [...path.split(delimiter).filter(Boolean), '/usr/local/go/bin']) {
    const program = join(directory, 'go');
    try {
      await access(program, constants.X_OK);
      return program;
    } catch {
      // the next directory
    }
  }
  throw new Error('Go is not installed');
}
