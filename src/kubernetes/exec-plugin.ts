/** Credential plugins of a kubeconfig: one run at a time, renewed before they expire. */
import { spawn } from 'node:child_process';
import { isRecord, recordIn, recordsIn, instantIn, textIn, type JsonRecord } from '../core/json.ts';
import type { Environment } from './kubeconfig.ts';

/** What a plugin answered. */
export interface PluginCredential {
  readonly token?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Epoch milliseconds; absent: until it is refused. */
  readonly expiresAt?: number | undefined;
}

const RUN_MS = 60_000;
const MAX_OUTPUT_BYTES = 1_048_576;

/**
 * Runs the plugin once.
 * @see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 */
export function runPlugin(exec: JsonRecord, server: string, env: Environment): Promise<PluginCredential> {
  const command = textIn(exec, 'command');
  if (command === undefined) throw new Error('the kubeconfig names an exec plugin without a command');
  const listed: unknown = exec['args'];
  const args = Array.isArray(listed) ? listed.map(String) : [];
  const added = Object.fromEntries(
    recordsIn(exec, 'env').map((one) => [textIn(one, 'name') ?? '', textIn(one, 'value') ?? '']),
  );
  const info = {
    apiVersion: textIn(exec, 'apiVersion') ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: { interactive: false, ...(exec['provideClusterInfo'] === true ? { cluster: { server } } : {}) },
  };
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...env, ...added, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: RUN_MS,
    });
    const heard = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (heard.out.length < MAX_OUTPUT_BYTES) heard.out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (heard.err.length < 4096) heard.err += text;
    });
    child.on('error', (error) => {
      reject(new Error(`exec plugin ${command} could not be run: ${error.message}`, { cause: error }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) {
        try {
          resolve(credentialIn(command, heard.out));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
        return;
      }
      reject(new Error(`exec plugin ${command} ended with ${code ?? signal ?? 'nothing'}: ${heard.err.trim()}`));
    });
  });
}

function credentialIn(command: string, output: string): PluginCredential {
  let parsed: unknown;
  try {
    parsed = JSON.parse(output);
  } catch (error) {
    // The output may hold a token: it is not repeated.
    throw new Error(`exec plugin ${command} did not print an ExecCredential in JSON`, { cause: error });
  }
  if (!isRecord(parsed)) throw new Error(`exec plugin ${command} did not print an ExecCredential`);
  const status = recordIn(parsed, 'status');
  const token = textIn(status, 'token');
  const cert = textIn(status, 'clientCertificateData');
  if (token === undefined && cert === undefined)
    throw new Error(`exec plugin ${command} gave neither token nor certificate`);
  return { token, cert, key: textIn(status, 'clientKeyData'), expiresAt: instantIn(status, 'expirationTimestamp') };
}
