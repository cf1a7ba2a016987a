/** One line of a container's log, with the node's own time. */
export interface LogText {
  readonly attempt: number;
  readonly container: string;
  /** RFC 3339 with nanoseconds; empty on a line without a time. */
  readonly time: string;
  readonly text: string;
}

interface Chunk {
  readonly attempt: number;
  readonly container: string;
  readonly text: string;
}

const TIMED = /^(\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))(?: |$)/;

/** Whether a log is none of a container's: what a worker noted of a failed pod (`pod.events`, `pod.spec`), which is shown only when asked for. */
const isNote = (container: string): boolean => container.includes('.');

/** Splits stored chunks (`<time> <text>` lines) into lines, in order. `asked`: the one container wanted; without it, all containers. */
export async function* logLines(
  chunks: AsyncIterable<Chunk>,
  asked?: string,
): AsyncGenerator<LogText, void, undefined> {
  for await (const { attempt, container, text } of chunks) {
    if (asked === undefined && isNote(container)) continue;
    const lines = text.split('\n');
    if (lines.at(-1) === '') lines.pop();
    for (const line of lines) {
      const time = TIMED.exec(line);
      yield { attempt, container, time: time?.[1] ?? '', text: time === null ? line : line.slice(time[0].length) };
    }
  }
}
