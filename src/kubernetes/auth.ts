/** Credentials of a connection: request headers and TLS material, renewed as files rotate and tokens expire. */
import { readFile } from 'node:fs/promises';
import { isRecord, type JsonRecord, textIn } from '../core/json.ts';
import type { Environment, Target } from './kubeconfig.ts';
import { type PluginCredential, runPlugin } from './exec-plugin.ts';
import { TUNING } from './settings.ts';

/** TLS material. Equal `version` means equal content. */
export interface TlsMaterial {
  readonly version: string;
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | string | undefined;
  readonly key?: Buffer | string | undefined;
  readonly servername?: string | undefined;
  readonly rejectUnauthorized: boolean;
}

/** Credentials of one request. */
export interface Credentials {
  /** An array is sent as several headers of that name. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly tls: TlsMaterial;
}

/** Maximum age of what was read from files. A projected token lives an hour, and the kubelet rotates it after 80 % of that. */
const FILE_MS = 60_000;
/** A plugin's credentials are renewed this long before they expire. */
const SKEW_MS = 60_000;

/** Credentials of one connection. Call it for each request: it reads files once a minute and runs a plugin once for all callers. */
export class Auth {
  readonly #target: Target;
  readonly #env: Environment;
  readonly #pluginMs: number;
  readonly #closed = new AbortController();
  #present: { readonly credentials: Credentials; readonly until: number } | undefined;
  #renewal: Promise<Credentials> | undefined;

  /** @param pluginMs time limit of a credential plugin */
  constructor(target: Target, env: Environment, pluginMs = TUNING.pluginMs) {
    this.#target = target;
    this.#env = env;
    this.#pluginMs = pluginMs;
  }

  /** The current credentials, while they need no renewal. */
  get present(): Credentials | undefined {
    return this.#present !== undefined && Date.now() < this.#present.until ? this.#present.credentials : undefined;
  }

  /** The current credentials. Rejects when a file cannot be read or a plugin fails; takes as long as the plugin does. */
  async credentials(): Promise<Credentials> {
    const { present } = this;
    if (present !== undefined) return present;
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return await this.#renewal;
  }

  /** Discards credentials that the server refused with 401, unless they were renewed meanwhile. */
  drop(refused: Credentials): void {
    if (this.#present?.credentials === refused) this.#present = undefined;
  }

  /** Ends a running plugin. Do not use the object afterwards. */
  close(): void {
    this.#closed.abort(new Error('the cluster connection has been closed'));
  }

  async #renew(): Promise<Credentials> {
    const { cluster, user, impersonation } = this.#target;
    const plugin = await this.#plugin();
    const [ca, cert, key, token] = await Promise.all([
      material(cluster.caData, cluster.caFile),
      plugin?.cert ?? material(user.certData, user.certFile),
      plugin?.key ?? material(user.keyData, user.keyFile),
      this.#token(plugin),
    ]);
    const headers: Record<string, string | string[]> = { ...impersonation };
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
    else if (user.username !== undefined && user.username !== '') {
      const pair = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64');
      headers['authorization'] = `Basic ${pair}`;
    }
    const tls = {
      ca,
      cert,
      key,
      servername: cluster.tlsServerName,
      rejectUnauthorized: !cluster.skipTLSVerify,
    };
    const version = [ca, cert, key].map((part) => part?.toString() ?? '').join('\n');
    const credentials = { headers, tls: { ...tls, version } };
    const until = Math.min(
      Date.now() + FILE_MS,
      ...(plugin?.expiresAt === undefined ? [] : [plugin.expiresAt - SKEW_MS]),
    );
    this.#present = { credentials, until: Math.max(until, Date.now() + 1000) };
    return credentials;
  }

  #pluginCredential: PluginCredential | undefined;

  async #plugin(): Promise<PluginCredential | undefined> {
    const { user } = this.#target;
    const exec: unknown =
      user.exec ??
      (isRecord(user.authProvider) && isRecord(user.authProvider['config'])
        ? user.authProvider['config']['exec']
        : undefined);
    if (!isRecord(exec)) return undefined;
    // `#present` was discarded after a 401: run the plugin again, whatever expiry it reported.
    const held = this.#pluginCredential;
    if (held !== undefined && this.#present !== undefined && (held.expiresAt ?? Infinity) - SKEW_MS > Date.now())
      return held;
    this.#pluginCredential = await runPlugin(exec, await this.#pluginCluster(exec), this.#env, {
      timeoutMs: this.#pluginMs,
      signal: this.#closed.signal,
    });
    return this.#pluginCredential;
  }

  /** Cluster information for a plugin that asks for it (`provideClusterInfo`). */
  async #pluginCluster(exec: JsonRecord): Promise<JsonRecord | undefined> {
    if (exec['provideClusterInfo'] !== true) return undefined;
    const { cluster } = this.#target;
    const ca = await material(cluster.caData, cluster.caFile);
    return {
      server: cluster.server,
      ...(cluster.tlsServerName === undefined ? {} : { 'tls-server-name': cluster.tlsServerName }),
      ...(cluster.skipTLSVerify ? { 'insecure-skip-tls-verify': true } : {}),
      ...(ca === undefined ? {} : { 'certificate-authority-data': ca.toString('base64') }),
      ...(cluster.proxyUrl === undefined ? {} : { 'proxy-url': cluster.proxyUrl }),
      ...(cluster.pluginConfig === undefined ? {} : { config: cluster.pluginConfig }),
    };
  }

  async #token(plugin: PluginCredential | undefined): Promise<string | undefined> {
    const { user } = this.#target;
    if (plugin?.token !== undefined) return plugin.token;
    const provider: unknown = user.authProvider;
    const config = isRecord(provider) ? provider['config'] : undefined;
    const file = user.tokenFile ?? textIn(config, 'tokenFile');
    if (file !== undefined) return (await readFile(file, 'utf8')).trim();
    if (user.token !== undefined && user.token !== '') return user.token;
    if (isRecord(provider) && plugin === undefined) return await this.#fromLibrary();
    return undefined;
  }

  /** The built-in providers oidc, azure and gcp of older kubeconfigs. The library is loaded for these only. */
  async #fromLibrary(): Promise<string | undefined> {
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    config.loadFromClusterAndUser(this.#target.cluster, this.#target.user);
    const options: { headers?: Record<string, string> } = {};
    await config.applyToHTTPSOptions(options);
    const header = options.headers?.['Authorization'];
    return typeof header === 'string' ? header.replace(/^Bearer /, '') : undefined;
  }
}

async function material(data: string | undefined, file: string | undefined): Promise<Buffer | undefined> {
  if (data !== undefined && data !== '') return Buffer.from(data, 'base64');
  return file === undefined || file === '' ? undefined : await readFile(file);
}
