/**
 * The state of every connection and namespace of a role: checked from the start, again with back-off until it is good, and probed each minute after that.
 * One that is away stops nothing else.
 */
import { defer, filter, from, ignoreElements, interval, merge, race, repeat, Subject, tap, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import {
  checkAgainMs,
  connectionDiagnosis,
  connectionProblem,
  isAway,
  unansweredProblem,
} from '../core/connection-state.ts';
import type { ConnectionScope, ConnectionState } from '../core/connection-state.ts';
import { accessText, CLUSTER_ACCESS } from '../core/rbac.ts';
import type { ClusterAccess } from '../core/rbac.ts';
import { messageOf } from '../errors.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Availability, Clusters } from '../ports/cluster.ts';
import { watchScopes } from '../trigger/watched-pods.ts';
import type { Diagnosis } from '../wire/outcome.ts';

/** An API server that does not answer a review within this time counts as unreachable, in milliseconds. */
const ANSWER_WITHIN_MS = 10_000;
/** How long a launch waits for the first check, in milliseconds. */
const FIRST_WITHIN_MS = 2_000;
/** Shortest time between two checks of a scope that launches ask for, in milliseconds. */
const RECHECK_EVERY_MS = 1_000;
const GAUGE_EVERY_MS = 1_000;

/** What the states are made from. */
export interface ConnectionStatesOptions {
  readonly role: keyof typeof CLUSTER_ACCESS;
  readonly clusters: Clusters;
  /** Namespaces of every connection; `undefined`: all. */
  readonly namespaces: readonly string[] | undefined;
  readonly log: Log;
  readonly meter: Meter;
}

/** A permission to be reviewed. */
type Wanted = ClusterAccess & { readonly namespace?: string };

interface Scope extends ConnectionScope {
  state: ConnectionState;
  /** Monotonic, in milliseconds. */
  checkedAt: number;
  /** The check under way. */
  check: Promise<void> | undefined;
  /** Whether it was logged that permissions to read results are missing. */
  hasWarned: boolean;
}

/** The states of one role's connections. */
export class ConnectionStates implements Availability {
  readonly #options: ConnectionStatesOptions;
  readonly #scopes: readonly Scope[];
  readonly #lost$ = new Subject<string>();

  constructor(options: ConnectionStatesOptions) {
    this.#options = options;
    const state: ConnectionState = { kind: 'unchecked' };
    this.#scopes = watchScopes(options.clusters.names, options.namespaces).map((scope) => ({
      ...scope,
      ...{ state, checkedAt: Number.NEGATIVE_INFINITY, check: undefined, hasWarned: false },
    }));
    for (const scope of this.#scopes) this.#gauge(scope);
  }

  /** Whether any connection works in any namespace, and its API server answers. */
  get isUsable(): boolean {
    return this.#scopes.some(({ state, connection }) => state.kind === 'ok' && !isAway(this.#unansweredMs(connection)));
  }

  /** What is wrong, one sentence for each connection or namespace; empty: nothing. */
  get problems(): readonly string[] {
    // A connection that is unreachable is so in all its namespaces.
    const states = this.#scopes.flatMap((scope) => connectionProblem(scope, scope.state) ?? []);
    const { names } = this.#options.clusters;
    const unanswered = names.flatMap((name) => unansweredProblem(name, this.#unansweredMs(name)) ?? []);
    return [...new Set([...states, ...unanswered])];
  }

  /** Checks every connection, side by side, and shows for how long each has not answered. Never completes, never errors. */
  get checks$(): Observable<never> {
    const { role, clusters, meter } = this.#options;
    const gauges$ = interval(GAUGE_EVERY_MS).pipe(
      tap(() => {
        for (const connection of clusters.names)
          meter.gauge('api_server_unanswered_seconds', this.#unansweredMs(connection) / 1_000, { role, connection });
      }),
      ignoreElements(),
    );
    return merge(gauges$, ...clusters.names.map((connection) => this.#checks$(connection)));
  }

  async problem(connection: string, namespace: string): Promise<Diagnosis | undefined> {
    const scope = this.#scopeOf(connection, namespace);
    if (scope === undefined) return undefined;
    if (scope.state.kind === 'unchecked') await Promise.race([this.#checked(scope), pause(FIRST_WITHIN_MS)]);
    return connectionDiagnosis(scope, scope.state);
  }

  async recheck(connection: string, namespace: string): Promise<Diagnosis | undefined> {
    const scope = this.#scopeOf(connection, namespace);
    if (scope === undefined) return undefined;
    if (performance.now() - scope.checkedAt >= RECHECK_EVERY_MS) await this.#checked(scope);
    if (scope.state.kind !== 'ok') this.#lost$.next(connection);
    return connectionDiagnosis(scope, scope.state);
  }

  #unansweredMs(connection: string): number {
    return this.#options.clusters.get(connection).unansweredMs();
  }

  #scopeOf(connection: string, namespace: string): Scope | undefined {
    return this.#scopes.find(
      (scope) => scope.connection === connection && (scope.namespace === undefined || scope.namespace === namespace),
    );
  }

  #checks$(connection: string): Observable<never> {
    const scopes = this.#scopes.filter((scope) => scope.connection === connection);
    let failures = 0;
    let round = 0;
    return defer(() => from(this.#checkAll(scopes, round))).pipe(
      repeat({
        delay: () => {
          round += 1;
          const isGood = scopes.every(({ state }) => state.kind === 'ok');
          failures = isGood ? 0 : failures + 1;
          const again$ = timer(checkAgainMs(failures));
          return isGood ? race(again$, this.#lostOf$(connection)) : again$;
        },
      }),
      ignoreElements(),
    );
  }

  #lostOf$(connection: string): Observable<unknown> {
    return this.#lost$.pipe(filter((lost) => lost === connection));
  }

  /** Checks the scopes that are not ok; of the others one permission, another one each time. Ends early where the connection is unreachable. */
  async #checkAll(scopes: readonly Scope[], round: number): Promise<void> {
    for (const scope of scopes) {
      if (scope.state.kind === 'ok') await this.#probe(scope, round);
      else await this.#checked(scope);
      const { state } = scope;
      if (state.kind !== 'unreachable') continue;
      for (const other of scopes) this.#set(other, state);
      return;
    }
  }

  async #probe(scope: Scope, round: number): Promise<void> {
    const wanted = this.#wanted(scope);
    const one = wanted[round % wanted.length];
    const found = one === undefined || one.onlyFor === 'results' ? undefined : await this.#review(scope, [one]);
    if (found !== undefined && found.kind !== 'ok') await this.#checked(scope);
  }

  /** A full check; the one under way, if there is one. */
  async #checked(scope: Scope): Promise<void> {
    scope.check ??= this.#review(scope, this.#wanted(scope))
      .then((state) => {
        this.#set(scope, state);
      })
      .finally(() => {
        scope.checkedAt = performance.now();
        scope.check = undefined;
      });
    await scope.check;
  }

  #wanted({ namespace }: Scope): readonly Wanted[] {
    return CLUSTER_ACCESS[this.#options.role].map((access) => ({
      ...access,
      ...(namespace === undefined ? {} : { namespace }),
    }));
  }

  async #review(scope: Scope, wanted: readonly Wanted[]): Promise<ConnectionState> {
    const { clusters, log } = this.#options;
    const { connection, namespace } = scope;
    try {
      const answer = clusters.get(connection).missingPermissions(wanted);
      const lacking = await within(ANSWER_WITHIN_MS, answer);
      if (lacking === undefined)
        return { kind: 'unreachable', why: `no answer within ${String(ANSWER_WITHIN_MS / 1_000)} s` };
      const optional = wanted.filter(({ onlyFor }) => onlyFor === 'results').map(accessText);
      const missing = lacking.filter((text) => !optional.includes(text));
      if (missing.length < lacking.length && !scope.hasWarned) {
        scope.hasWarned = true;
        log.warn(
          { connection, namespace: namespace ?? '*', missing: lacking },
          'no permission to read results from sidecars; only xcomMode message works',
        );
      }
      return missing.length === 0 ? { kind: 'ok' } : { kind: 'lacks', missing };
    } catch (error) {
      return { kind: 'unreachable', why: messageOf(error) };
    }
  }

  /** Stores the state, and logs it where it is another than before. */
  #set(scope: Scope, state: ConnectionState): void {
    const before = scope.state;
    scope.state = state;
    this.#gauge(scope);
    const { connection, namespace = '*' } = scope;
    const { log, role } = this.#options;
    if (before.kind === state.kind && textOf(before) === textOf(state)) return;
    if (state.kind === 'ok') {
      if (before.kind !== 'unchecked') log.info({ connection, namespace }, 'the connection works again');
      return;
    }
    log.warn(
      { connection, namespace, state: state.kind },
      `${connectionProblem(scope, state) ?? ''}; the ${role} goes on without it and tries again`,
    );
  }

  #gauge({ connection, namespace = '*', state }: Scope): void {
    const { meter, role } = this.#options;
    meter.gauge('connection_ready', state.kind === 'ok' ? 1 : 0, { role, connection, pod_namespace: namespace });
  }
}

/** What a state has beside its kind that is worth a new line of the log. Messages of one outage vary. */
const textOf = (state: ConnectionState): string => (state.kind === 'lacks' ? state.missing.join() : '');

function pause(ms: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, undefined).unref();
  });
}

/** What `answer` resolves to; `undefined` where that takes longer than `ms`. */
async function within<T>(ms: number, answer: Promise<T>): Promise<T | undefined> {
  // An error that comes later is of no interest.
  answer.catch(() => undefined);
  return await Promise.race([answer, pause(ms)]);
}
