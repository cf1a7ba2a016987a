/** What a task's command becomes in its pod, and which commands are let through. @see spec executor §3.4, §7.6 */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { ReentryError } from '../errors.ts';

/** A command: words, or exactly one workload object that goes into the pod as JSON. */
export type ExecutorCommand = readonly string[] | readonly [JsonRecord];

/** The first words of every command that the seed lets through. */
export const TASK_COMMAND = ['airflow', 'tasks', 'run'] as const;

/** Runs one workload given as JSON: the seed's current generation. */
const WORKLOAD_COMMAND = ['python', '-m', 'airflow.sdk.execution_time.execute_workload', '--json-string'] as const;

/** `task`: the seed's rule. `any`: any words, as the service's own `command` runs have them. */
export type CommandRule = 'task' | 'any';

/** What is wrong with a command; `undefined` when nothing is. */
export function commandProblem(command: readonly unknown[], rule: CommandRule): string | undefined {
  if (command.length === 0) return 'is empty';
  if (command.length === 1 && isRecord(command[0])) {
    const type = command[0]['type'];
    return type === undefined || type === 'ExecuteTask'
      ? undefined
      : `workloads of type ${JSON.stringify(type)} cannot run`;
  }
  const wrong = command.findIndex((word) => typeof word !== 'string');
  if (wrong !== -1) return `word ${wrong} is not a text`;
  if (rule === 'any') return undefined;
  return TASK_COMMAND.every((word, index) => command[index] === word)
    ? undefined
    : `must begin with ${TASK_COMMAND.map((word) => `"${word}"`).join(', ')}`;
}

/**
 * The arguments of the pod's first container; the image's entry point runs them.
 * @throws ReentryError INVALID_REQUEST for a command that the rule does not let through
 */
export function commandArgs(command: readonly unknown[], rule: CommandRule = 'task'): readonly string[] {
  const problem = commandProblem(command, rule);
  if (problem !== undefined)
    throw new ReentryError('INVALID_REQUEST', `the command ${problem}`, {
      transient: false,
      problems: [{ path: 'command', message: problem }],
    });
  const [first] = command;
  return isRecord(first)
    ? [...WORKLOAD_COMMAND, JSON.stringify(first)]
    : command.filter((word) => typeof word === 'string');
}
