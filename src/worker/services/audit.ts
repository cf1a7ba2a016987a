import { isRecord, textIn } from '../../core/json.ts';
import { shortText } from '../../core/short-text.ts';
import type { Problem } from '../../errors.ts';
import type { Log } from '../../ports/ambient.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** Longest reason of a cancel, as in `cancelRequestSchema`. */
const MAX_REASON_LENGTH = 500;

/** An entry of the audit log: a request of a client and its outcome. */
export interface AuditEntry {
  /** The kind of request. */
  readonly audit: 'submit' | 'retry' | 'cancel';
  /** `service`: a verb of `svc.<tenant>`; `subject`: published on the run's own subject, or carried out from there. */
  readonly via: 'service' | 'subject';
  /** The tenant is certain: NATS permissions let only its users publish on these subjects. */
  readonly run: Pick<RunKey, 'tenant' | 'runId'>;
  readonly queue?: string | undefined;
  /** `accepted`, `duplicate`, `refused`, `asked`, `stopping`, `cancelled`, `over`, or an error's code. */
  readonly outcome: string;
  readonly reason?: string | undefined;
  /** Paths of invalid fields; never values. */
  readonly problems?: readonly string[] | undefined;
}

/**
 * Writes one line of the audit log: level `info`, message `audit`, with the worker's time and id. A submit through the service and its intake are two
 * lines: the request and its outcome. A redelivery may repeat a line.
 */
export function audit(log: Log, { run, problems, ...entry }: AuditEntry): void {
  const { tenant, runId } = run;
  const { reason, queue, ...rest } = entry;
  // The texts of a refused request may have any length.
  const texts = { queue: queue && shortText(queue), ...rest, reason: reason && shortText(reason, MAX_REASON_LENGTH) };
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(texts)) if (value !== undefined) fields[name] = value;
  const paths =
    problems === undefined || problems.length === 0 ? {} : { problems: problems.map((path) => shortText(path)) };
  log.info({ tenant, runId: shortText(runId), ...fields, ...paths }, 'audit');
}

/** Writes the line of a service request. A dry run is not logged: it submits nothing. */
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
  const runId = textIn(ok, 'runId') ?? textIn(input, 'runId') ?? '';
  const queue = textIn(ok, 'queue') ?? textIn(input, 'queue');
  const duplicate = isRecord(ok) && ok['duplicate'] === true;
  audit(log, {
    ...{ audit: verb, via: 'service', run: { tenant, runId }, queue },
    outcome: outcome === 'ok' ? (duplicate ? 'duplicate' : 'asked') : outcome,
    reason: textIn(input, 'reason'),
    problems: problems?.map(({ path }) => path),
  });
}
