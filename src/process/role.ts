/** What a role is to the process that runs it. */
import type { Config } from '../config.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Log, Meter, Tracer } from '../ports/ambient.ts';
import type { Broker } from '../ports/broker.ts';
import type { Clusters } from '../ports/cluster.ts';
import type { Work } from '../run.ts';
import type { Condition } from './health.ts';

/** Roles of this version. */
export const ROLES = ['worker', 'triggerer', 'executor'] as const;
export type Role = (typeof ROLES)[number];

/** What a role is begun with. */
export interface RoleParts {
  readonly id: string;
  /** Of the program; for people. */
  readonly version: string;
  readonly config: Config;
  readonly broker: Broker;
  readonly clusters: Clusters;
  readonly log: Log;
  readonly meter: Meter;
  /** Absent: no spans. */
  readonly tracer?: Tracer | undefined;
  /** Operators of the caller's, beside `pod`. */
  readonly operators: readonly DefinedOperator[];
  /** Pod callbacks of the caller's, beside those of the settings. */
  readonly callbacks: CallbackRegistry;
}
/** A role's work, and how it is. */
export interface BegunRole {
  readonly work$: Work;
  readonly condition: () => Condition;
}
