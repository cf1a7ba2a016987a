import { isRecord, type JsonRecord } from '../../src/core/json.ts';
import {
  forwarded,
  isLogGroupMarker,
  type LogLevel,
  type LogRecord,
  LogRecords,
  logsAvailable,
  parseLogLevel,
  parsedLogLine,
} from '../../src/core/log/records.ts';
import { LineSplitter } from '../../src/kubernetes/line-splitter.ts';
import { type Answer, compareWithOracle, type OracleCase, type OracleRule } from './harness.ts';

const NUMBERS: Readonly<Record<LogLevel, number>> = { debug: 10, info: 20, warning: 30, error: 40, critical: 50 };
const NOW = 1_700_000_000_000;

const bytesOf = (base64: unknown): Buffer => Buffer.from(String(base64), 'base64');
const listIn = (value: JsonRecord, key: string): readonly unknown[] => {
  const list: unknown = value[key];
  return Array.isArray(list) ? list : [];
};
const isoMicros = (nanos: bigint): string =>
  `${new Date(Number(nanos / 1_000_000n)).toISOString().slice(0, 19)}.${String((nanos / 1000n) % 1_000_000n).padStart(6, '0')}Z`;

/** The lines of a case as strings, in the forms of both readers. */
function linesOf({ input }: OracleCase): readonly string[] {
  return Array.isArray(input['lines'])
    ? input['lines'].map(String)
    : listIn(input, 'lines_base64').map((one) => bytesOf(one).toString('utf8'));
}

/** The records of all lines, or of those before the first one of `beforeNanos` or later. */
function recordsOf(lines: readonly string[], beforeNanos?: bigint): readonly LogRecord[] {
  const records = new LogRecords();
  const isLate = (line: string): boolean => {
    const { nanos } = parsedLogLine(line);
    return nanos !== undefined && beforeNanos !== undefined && nanos >= beforeNanos;
  };
  const late = lines.findIndex(isLate);
  const ended = (late === -1 ? lines : lines.slice(0, late)).map((line) => records.push(line));
  return [...ended, records.end()].filter((record) => record !== undefined);
}

function shown(records: Iterable<{ readonly nanos: bigint | undefined; readonly text: string }>, withPrefix: boolean) {
  const logged: [number, string][] = [];
  const printed: string[] = [];
  const progress: [string, string | null][] = [];
  let last: string | null = null;
  for (const record of records) {
    const time = record.nanos === undefined ? null : isoMicros(record.nanos);
    if (isLogGroupMarker(record.text)) printed.push(record.text);
    else logged.push([NUMBERS[parseLogLevel(record.text)], forwarded(record.text, 'base', withPrefix)]);
    progress.push([record.text, time]);
    last = time ?? last;
  }
  return { logged, printed, progress, last };
}

function answer(theCase: OracleCase): unknown {
  const { input } = theCase;
  switch (input['function']) {
    case 'parse_log_line':
    case 'decode_and_parse': {
      const line = typeof input['line'] === 'string' ? input['line'] : bytesOf(input['base64']).toString('utf8');
      const { nanos, message } = parsedLogLine(line);
      return { message, timestamp: nanos === undefined ? null : Number(nanos / 1000n) };
    }
    case '_parse_log_level':
      return parseLogLevel(String(input['message']));
    case 'is_log_group_marker':
      return isLogGroupMarker(String(input['line']));
    case 'logs_available': {
      const { container_state: state, finished_seconds_ago: ago, post_termination_timeout: limit } = input;
      const finishedAt = typeof ago === 'number' ? NOW - ago * 1000 : undefined;
      const container = state === 'running' || state === 'terminated' ? ({ state, finishedAt } as const) : undefined;
      return logsAvailable(container, NOW, Number(limit));
    }
    case 'PodLogsConsumer': {
      const splitter = new LineSplitter(1_000_000, 'fail');
      const available = Array.isArray(input['logs_available']) ? [...input['logs_available'].map(Boolean)] : [];
      const lines: Buffer[] = [];
      for (const chunk of listIn(input, 'chunks_base64')) {
        if (available.shift() === false) break;
        for (const line of splitter.push(bytesOf(chunk))) lines.push(Buffer.concat([line, Buffer.from('\n')]));
      }
      const rest = splitter.rest();
      return [...lines, ...(rest === undefined ? [] : [rest])].map((line) => line.toString('base64'));
    }
    case '_split_log_bytes': {
      const splitter = new LineSplitter(1_000_000, 'fail');
      const lines = [...splitter.push(bytesOf(input['base64']))];
      const rest = splitter.rest();
      return [...lines, ...(rest === undefined ? [] : [rest])].map((line) => line.toString('utf8'));
    }
    case '_emit_container_logs': {
      // Airflow's deferred reader withholds the current second; ours has a cursor and need not, but can.
      const now = parsedLogLine(String(input['now'])).nanos ?? 0n;
      const { logged, printed } = shown(recordsOf(linesOf(theCase), now - (now % 1_000_000_000n)), true);
      return { logged, printed };
    }
    case 'fetch_container_logs': {
      const records = recordsOf(linesOf(theCase));
      const { last, ...rest } = shown(records, input['container_name_log_prefix_enabled'] !== false);
      return { ...rest, last_log_time: last, resume_from: last };
    }
  }
  throw new Error(`no such function: ${String(input['function'])}`);
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)(?= |$)/;

/** The expected records of a case, computed independently of our code. */
function expected(theCase: OracleCase): Answer {
  const { input } = theCase;
  const isSync = input['function'] === 'fetch_container_logs';
  const { now } = input;
  const second = typeof now === 'string' ? now.slice(0, 19) : '';
  const records: { time: string | undefined; lines: string[] }[] = [];
  for (const raw of linesOf(theCase)) {
    const line = raw.replace(/\n$/, '');
    const time = RFC_3339.exec(line)?.[0];
    if (!isSync && time?.startsWith(second) === true) break;
    const last = records.at(-1);
    if (time !== undefined) records.push({ time, lines: [line.slice(time.length + 1)] });
    else if (last === undefined) records.push({ time: undefined, lines: [line] });
    else last.lines.push(line);
  }
  const nanosOf = (time: string): bigint => parsedLogLine(time).nanos ?? 0n;
  const { last, ...rest } = shown(
    records.map(({ time, lines }) => ({
      nanos: time === undefined ? undefined : nanosOf(time),
      text: lines.join('\n'),
    })),
    input['container_name_log_prefix_enabled'] !== false,
  );
  const { logged, printed } = rest;
  return { output: isSync ? { ...rest, last_log_time: last, resume_from: last } : { logged, printed } };
}

const isRecords = ({ input }: OracleCase): boolean =>
  input['function'] === 'fetch_container_logs' || input['function'] === '_emit_container_logs';
const isTimed = (line: string): boolean => RFC_3339.test(line);

const RULES: readonly OracleRule[] = [
  {
    reason: 'a timestamp is RFC 3339 at the start of a line: Airflow accepts dates, durations and numbers as well',
    when: ({ input }) => input['function'] === 'parse_log_line' && !isTimed(String(input['line'])),
    instead: (_, { input }) => ({ output: { message: String(input['line']), timestamp: null } }),
  },
  {
    reason: 'invalid UTF-8 becomes U+FFFD: Airflow’s following reader writes escapes',
    when: ({ input, theirs }) =>
      input['function'] === 'decode_and_parse' && 'output' in theirs && JSON.stringify(theirs.output).includes('\\\\x'),
    instead: (theirs) => {
      const output = 'output' in theirs && isRecord(theirs.output) ? theirs.output : {};
      return { output: { ...output, message: String(output['message']).replaceAll(/\\x[0-9a-f]{2}/g, '\ufffd') } };
    },
  },
  {
    reason: 'an empty rest after the last newline is not a line',
    when: ({ input, theirs }) =>
      input['function'] === 'PodLogsConsumer' &&
      'output' in theirs &&
      Array.isArray(theirs.output) &&
      theirs.output.at(-1) === '',
    instead: (theirs) => ({
      output: 'output' in theirs && Array.isArray(theirs.output) ? theirs.output.slice(0, -1) : [],
    }),
  },
  {
    reason: 'a line ends at a newline only: Airflow’s deferred reader splits at other separators as well',
    when: ({ input }) => input['function'] === '_split_log_bytes',
    instead: (_, { input }) => ({ output: bytesOf(input['base64']).toString('utf8').replace(/\n$/, '').split('\n') }),
  },
  {
    reason: 'lines before the first timestamp are a record: Airflow drops them, or prefixes them with None',
    when: (theCase) => isRecords(theCase) && linesOf(theCase)[0] !== undefined && !isTimed(linesOf(theCase)[0] ?? ''),
    instead: (_, theCase) => expected(theCase),
  },
  {
    reason: 'an empty line is a record: Airflow drops it, and joins what follows to the previous record',
    when: (theCase) => isRecords(theCase) && linesOf(theCase).some((line) => isTimed(line) && / \n?$/.test(line)),
    instead: (_, theCase) => expected(theCase),
  },
  {
    reason:
      'continued lines are joined by one newline: Airflow’s following reader doubles it, and takes words for timestamps',
    when: (theCase) => isRecords(theCase) && linesOf(theCase).some((line) => !isTimed(line)),
    instead: (_, theCase) => expected(theCase),
  },
  {
    reason: 'invalid UTF-8 becomes U+FFFD in records, too',
    when: (theCase) => isRecords(theCase) && linesOf(theCase).some((line) => line.includes('\ufffd')),
    instead: (_, theCase) => expected(theCase),
  },
];

const oneMark = (value: unknown): unknown =>
  isRecord(value) && typeof value['message'] === 'string'
    ? { ...value, message: value['message'].replaceAll(/\ufffd+/g, '\ufffd') }
    : value;

compareWithOracle('log-lines', {
  answer,
  theirs: (output) => {
    if (!isRecord(output) || !('timestamp' in output)) return output;
    const { timestamp } = output;
    return { ...output, timestamp: isRecord(timestamp) ? (timestamp['epoch_micros'] ?? 'no time') : null };
  },
  // Decoders differ in the number of replacement characters for an invalid sequence.
  ours: oneMark,
  rules: RULES.map((rule) => {
    const { instead } = rule;
    if (instead === undefined) return rule;
    return {
      ...rule,
      instead: (theirs: Answer, theCase: OracleCase): Answer => {
        const changed = instead(theirs, theCase);
        return 'output' in changed ? { output: oneMark(changed.output) } : changed;
      },
    };
  }),
});
