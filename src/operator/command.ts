/** Which commands are allowed, and the arguments that they become in the pod. */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { ReentryError } from '../errors.ts';

/** A command: its arguments, or exactly one workload object, which is passed to the pod as JSON. */
export type ExecutorCommand = readonly string[] | readonly [JsonRecord];

/** The first arguments of every command that Airflow's KubernetesExecutor allows. */
const TASK_COMMAND = ['airflow', 'tasks', 'run'] as const;

/** Runs one workload given as JSON, as Airflow 3 does. */
const WORKLOAD_COMMAND = ['python', '-m', 'airflow.sdk.execution_time.execute_workload', '--json-string'] as const;

/** `task`: only Airflow's task commands. `any`: any arguments, as for `command` runs. */
export type CommandRule = 'task' | 'any';

/** Why a command is not allowed; `undefined` when it is. */
export function commandProblem(command: readonly unknown[], rule: CommandRule): string | undefined {
  if (command.length === 0) return 'is empty';
  if (command.length === 1 && isRecord(command[0])) {
    const type = command[0]['type'];
    return type === undefined || type === 'ExecuteTask'
      ? undefined
      : `workloads of type ${JSON.stringify(type)} cannot run`;
  }
  const wrong = command.findIndex((argument) => typeof argument !== 'string');
  if (wrong !== -1) return `argument ${wrong} is not a string`;
  if (rule === 'any') return undefined;
  return TASK_COMMAND.every((argument, index) => command[index] === argument)
    ? undefined
    : `must begin with ${TASK_COMMAND.map((argument) => `"${argument}"`).join(', ')}`;
}

/**
 * The arguments of the pod's first container; the image's entry point runs them.
 * @throws ReentryError INVALID_REQUEST for a command that the rule does not allow
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
    : command.filter((argument) => typeof argument === 'string');
}
