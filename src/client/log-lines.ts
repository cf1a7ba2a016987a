/** Lines of a run's log. */

/** One line of a container's log, with the node's time. */
export interface LogText {
  readonly attempt: number;
  readonly container: string;
  /** RFC 3339 with nanoseconds; empty on a line without a time. */
  readonly time: string;
  readonly text: string;
  /** Shown before the text: `[container] `, where the log is of several containers and `containerNameLogPrefixEnabled` is set. */
  readonly prefix?: string;
}

/** A line as it is shown to people. */
export const shownText = ({ prefix = '', text }: LogText): string => prefix + text;

/** Stored text of one container. */
export interface StoredText {
  readonly attempt: number;
  readonly container: string;
  readonly text: string;
}

/** Whether a log is not a container's but what a worker recorded about the pod (`pod.startup`, `pod.events`, `pod.spec`). Shown on request only. */
export const isNote = (container: string): boolean => container.includes('.');
