/** Runs credential plugins of a kubeconfig. */
import { type ChildProcess, spawn } from 'node:child_process';
import { platform } from 'node:process';
import { isRecord, recordIn, recordsIn, instantIn, textIn, type JsonRecord } from '../core/json.ts';
import type { Environment } from './kubeconfig.ts';
import { scalarIn, scalarText } from './kubeconfig-file.ts';

/** The credentials that a plugin returned. */
export interface PluginCredential {
  readonly token?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Epoch milliseconds; absent: valid until the server refuses them. */
  readonly expiresAt?: number | undefined;
}

/** Limits of one run. */
export interface PluginRun {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const MAX_OUTPUT_BYTES = 1_048_576;

/**
 * Runs the plugin once. `cluster`: cluster information passed to it. Settles at `timeoutMs` or at `signal`, whatever the plugin does, and
 * then kills all processes that it started. Rejects with an error named `TimeoutError` when it took too long.
 * @see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 */
export async function runPlugin(
  exec: JsonRecord,
  cluster: JsonRecord | undefined,
  env: Environment,
  { timeoutMs, signal }: PluginRun,
): Promise<PluginCredential> {
  signal.throwIfAborted();
  const command = textIn(exec, 'command');
  if (command === undefined) throw new Error('the kubeconfig names an exec plugin without a command');
  const listed: unknown = exec['args'];
  const args = Array.isArray(listed) ? listed.map((one: unknown) => scalarText(one) ?? '') : [];
  const added = Object.fromEntries(
    recordsIn(exec, 'env').map((one) => [scalarIn(one, 'name') ?? '', scalarIn(one, 'value') ?? '']),
  );
  const info = {
    apiVersion: textIn(exec, 'apiVersion') ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: { interactive: false, ...(cluster === undefined ? {} : { cluster }) },
  };
  const child = spawn(command, args, {
    env: { ...env, ...added, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Own process group: a wrapper script is killed together with what it started.
    detached: true,
    windowsHide: true,
  });
  const output = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.out.length < MAX_OUTPUT_BYTES) output.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (output.err.length < 4096) output.err += text;
  });
  const end = Promise.withResolvers<undefined>();
  const cut = (why: unknown): void => {
    // `close` may never be emitted: a child process may hold the pipe, or the plugin may hang in the kernel.
    end.reject(why);
    kill(child);
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => {
    cut(new DOMException(`exec plugin ${command} did not end within ${timeoutMs} ms`, 'TimeoutError'));
  }, timeoutMs);
  const aborted = (): void => {
    cut(signal.reason);
  };
  signal.addEventListener('abort', aborted, { once: true });
  child.on('error', (error) => {
    end.reject(new Error(`exec plugin ${command} could not be run: ${error.message}`, { cause: error }));
  });
  child.on('close', (code, by) => {
    if (code === 0) end.resolve(undefined);
    else
      end.reject(new Error(`exec plugin ${command} ended with ${code ?? by ?? 'no exit code'}: ${output.err.trim()}`));
  });
  try {
    await end.promise;
    return credentialIn(command, output.out);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', aborted);
  }
}

function kill(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    // A process group exists as long as one of its processes, and its id is not reused before.
    if (platform === 'win32') child.kill('SIGKILL');
    else process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All processes have exited already.
  }
}

function credentialIn(command: string, output: string): PluginCredential {
  let parsed: unknown;
  try {
    parsed = JSON.parse(output);
  } catch (error) {
    // The output can contain a token, so it is not quoted.
    throw new Error(`exec plugin ${command} did not print an ExecCredential in JSON`, { cause: error });
  }
  if (!isRecord(parsed)) throw new Error(`exec plugin ${command} did not print an ExecCredential`);
  const status = recordIn(parsed, 'status');
  const token = textIn(status, 'token');
  const cert = textIn(status, 'clientCertificateData');
  if (token === undefined && cert === undefined)
    throw new Error(`exec plugin ${command} returned neither a token nor a certificate`);
  return { token, cert, key: textIn(status, 'clientKeyData'), expiresAt: instantIn(status, 'expirationTimestamp') };
}
