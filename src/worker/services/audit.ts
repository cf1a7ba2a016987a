import { isRecord, textIn } from '../../core/json.ts';
import { shortText } from '../../core/short-text.ts';
import type { Problem } from '../../errors.ts';
import type { Log } from '../../ports/ambient.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** Longest reason that a cancel may have. @see cancelRequestSchema */
const MAX_REASON_LENGTH = 500;

/** Who asked for what, and what came of it. */
export interface AuditEntry {
  /** What was asked. */
  readonly audit: 'submit' | 'retry' | 'cancel';
  /** `service`: a verb of `svc.<tenant>`; `subject`: published on the run's own subject, or carried out from there. */
  readonly via: 'service' | 'subject';
  /** The one thing NATS vouches for: its permissions let only the tenant's users publish on these subjects. */
  readonly run: Pick<RunKey, 'tenant' | 'runId'>;
  readonly queue?: string | undefined;
  /** `accepted`, `duplicate`, `refused`, `asked`, `stopping`, `cancelled`, `over`, or an error's code. */
  readonly outcome: string;
  readonly reason?: string | undefined;
  /** Paths of what was wrong; never values. */
  readonly problems?: readonly string[] | undefined;
}

/**
 * One line of the audit log: level `info`, field `audit`, message `audit`; the worker's time and id stand beside it. A submit by service and
 * its intake are two lines: what was asked, and what came of it. A redelivery may repeat a line; `seq` of the intake tells it.
 */
export function audit(log: Log, { run, problems, ...entry }: AuditEntry): void {
  const { tenant, runId } = run;
  const { reason, queue, ...rest } = entry;
  // What was refused is as long as its writer liked, and so would be the line.
  const told = { queue: queue && shortText(queue), ...rest, reason: reason && shortText(reason, MAX_REASON_LENGTH) };
  const said = Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
  const paths =
    problems === undefined || problems.length === 0 ? {} : { problems: problems.map((path) => shortText(path)) };
  log.info({ tenant, runId: shortText(runId), ...said, ...paths }, 'audit');
}

/** A service's request and answer as a line. A dry run asks for nothing and is none. */
export function auditService(
  log: Log,
  verb: AuditEntry['audit'],
  tenant: string,
  asked: {
    readonly input: unknown;
    readonly ok: unknown;
    readonly outcome: string;
    readonly problems: readonly Problem[] | undefined;
  },
): void {
  const { input, ok, outcome, problems } = asked;
  if (isRecord(ok) && ok['dryRun'] === true) return;
  const named = (field: string) => textIn(ok, field) ?? textIn(input, field);
  const duplicate = isRecord(ok) && ok['duplicate'] === true;
  audit(log, {
    ...{ audit: verb, via: 'service', run: { tenant, runId: named('runId') ?? '' }, queue: named('queue') },
    outcome: outcome === 'ok' ? (duplicate ? 'duplicate' : 'asked') : outcome,
    reason: textIn(input, 'reason'),
    problems: problems?.map(({ path }) => path),
  });
}
