import { LOG_GAP_TEXT } from '../../core/log/cursor.ts';
import type { Meter } from '../../ports/ambient.ts';
import type { LogStore } from '../../ports/stores.ts';

const LINE_FEED = 10;

/** The store of logs, counting lines and gaps of what it has stored. */
export function countedLogs(logs: LogStore, meter: Meter): LogStore {
  return {
    ...logs,
    async append(run, attempt, container, chunk, expectedSequence) {
      const { text } = chunk;
      // Counted before: bytes may be overwritten once it has answered.
      const bytes =
        typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.length);
      let lines = 0;
      for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) lines += 1;
      let gaps = 0;
      for (let at = bytes.indexOf(GAP_LINE); at >= 0; at = bytes.indexOf(GAP_LINE, at + 1)) gaps += 1;
      const outcome = await logs.append(run, attempt, container, chunk, expectedSequence);
      if (outcome.kind === 'stored') {
        meter.count('log_lines_total', {}, lines - gaps);
        if (gaps > 0) meter.count('log_gaps_total', {}, gaps);
      }
      return outcome;
    },
  };
}

/** As it stands in a chunk: a line of its own, behind its time. */
const GAP_LINE = ` ${LOG_GAP_TEXT}\n`;
