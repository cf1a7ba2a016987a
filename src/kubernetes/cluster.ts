/** The port `Cluster` over HTTP. */
import type { Observable } from 'rxjs';
import { textIn } from '../core/json.ts';
import { type PodProjection, type PodRef, projectPod } from '../core/pod/projection.ts';
import type { Log } from '../ports/ambient.ts';
import type {
  Cluster,
  CreateOptions,
  CreateOutcome,
  ExecOptions,
  ExecOutcome,
  LogLine,
  LogReadOptions,
  Manifest,
  PodEventLine,
  PodSignal,
  SecretWriter,
} from '../ports/cluster.ts';
import { Auth } from './auth.ts';
import { podEvents } from './events.ts';
import { execInPod } from './exec.ts';
import { Http } from './http.ts';
import { type Environment, targetOf } from './kubeconfig.ts';
import { listPods } from './list-pods.ts';
import { readLogs } from './logs.ts';
import { createPod, deletePod, getPod, patchPod } from './pods.ts';
import { missingPermissions, type Permission } from './permissions.ts';
import { putSecret } from './secrets.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import type { ConnectionSettings, Tuning } from './settings.ts';
import { type PodSelection, type WatchListMemory, watchPods$ } from './watch.ts';

/** What a request did to a pod. `adopted`: it existed already. */
export type PodWrite = 'created' | 'adopted' | 'deleted';

/** Where a cluster's connection reports to. Default: nowhere. */
export interface ClusterReports {
  /** Called for each pod that was created, adopted or deleted. */
  readonly onPod?: ((write: PodWrite) => void) | undefined;
  readonly log?: Log | undefined;
}

/** A cluster reached over HTTP. Construction reads files and sends nothing. */
export class HttpCluster implements Cluster, SecretWriter {
  readonly connection: string;
  readonly namespace: string;
  readonly xcomSidecar: XcomSidecarSettings | undefined;
  readonly #http: Http;
  readonly #tuning: Tuning;
  readonly #watchList: WatchListMemory = { refusedUntil: 0 };

  readonly #onPod: (write: PodWrite) => void;

  constructor(
    connection: string,
    settings: ConnectionSettings,
    tuning: Tuning,
    env: Environment,
    { onPod = () => undefined, log }: ClusterReports = {},
  ) {
    this.#onPod = onPod;
    const target = targetOf(connection, settings, env);
    const { server, proxyUrl } = target.cluster;
    this.connection = connection;
    this.namespace = target.namespace;
    this.xcomSidecar = settings.xcomSidecar;
    this.#tuning = tuning;
    this.#http = new Http(connection, { base: server, proxyUrl }, new Auth(target, env, tuning.pluginMs), tuning, log);
  }

  watchPods$(scope: PodSelection): Observable<PodSignal> {
    return watchPods$(this.#http, scope, this.#tuning, this.#watchList);
  }

  async createPod(namespace: string, manifest: Manifest, options?: CreateOptions): Promise<CreateOutcome> {
    const outcome = await createPod(this.#http, namespace, manifest, options);
    if (options?.dryRun !== true) this.#onPod(outcome.kind === 'created' ? 'created' : 'adopted');
    return outcome;
  }

  async getPod(namespace: string, name: string): Promise<Manifest | undefined> {
    return await getPod(this.#http, namespace, name);
  }

  async findPod({ namespace, name, uid }: PodRef): Promise<PodProjection | undefined> {
    const found = await this.getPod(namespace, name);
    const pod = found === undefined ? undefined : this.project(found);
    return pod?.uid === uid ? pod : undefined;
  }

  project(pod: Manifest): PodProjection {
    return projectPod(this.connection, pod);
  }

  async listPods(namespace: string | undefined, labelSelector: string): Promise<readonly PodProjection[]> {
    const { pods } = await listPods(this.#http, { namespace, labelSelector }, this.#tuning.pageSize);
    return pods;
  }

  async deletePod(pod: PodRef, gracePeriodSeconds?: number | null): Promise<'asked' | 'gone'> {
    const outcome = await deletePod(this.#http, pod, gracePeriodSeconds);
    if (outcome === 'asked') this.#onPod('deleted');
    return outcome;
  }

  async patchPod(pod: PodRef, patch: Manifest): Promise<'patched' | 'gone'> {
    return await patchPod(this.#http, pod, patch);
  }

  logs(pod: PodRef, container: string, options: LogReadOptions): AsyncIterable<LogLine> {
    return readLogs(this.#http, pod, container, options, this.#tuning);
  }

  async exec(pod: PodRef, options: ExecOptions): Promise<ExecOutcome> {
    return await execInPod(this.#http, pod, options);
  }

  async putSecret(
    namespace: string,
    name: string,
    data: Readonly<Record<string, Uint8Array>>,
  ): Promise<'created' | 'replaced'> {
    return await putSecret(this.#http, namespace, name, data);
  }

  async podEvents(pod: PodRef): Promise<readonly PodEventLine[]> {
    return await podEvents(this.#http, pod);
  }

  async missingPermissions(wanted: readonly Permission[]): Promise<readonly string[]> {
    return await missingPermissions(this.#http, wanted);
  }

  async version(): Promise<string> {
    const version = await this.#http.json({
      method: 'GET',
      path: '/version',
      what: 'read the version',
      count: 'version',
    });
    return textIn(version, 'gitVersion') ?? 'unknown';
  }

  unansweredMs(): number {
    return this.#http.unansweredMs;
  }

  requestCounts(): Readonly<Record<string, number>> {
    return this.#http.counts();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.close();
  }
}
