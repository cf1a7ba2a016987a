/** All commands of `reentry`. */
import { Command } from 'commander';
import { cancelCommand } from './cancel.ts';
import { demoCommand } from './demo.ts';
import { devCommand } from './dev.ts';
import { dlqCommand } from './dlq.ts';
import { docsCommand } from './docs.ts';
import { doctorCommand } from './doctor.ts';
import { explainCommand } from './explain.ts';
import { listCommand } from './list.ts';
import { logsCommand } from './logs.ts';
import { queueCommand } from './queue.ts';
import { recoverCommand } from './recover.ts';
import { renderCommand } from './render.ts';
import { resultCommand } from './result.ts';
import { retryCommand } from './retry.ts';
import { executorCommand, serveCommand, triggererCommand, workerCommand } from './roles.ts';
import { schemaCommand } from './schema.ts';
import { setupCommand } from './setup.ts';
import type { Finish, Shell } from './shell.ts';
import { statusCommand } from './status.ts';
import { submitCommand } from './submit.ts';

const OVERVIEW = `
Try it on one machine:
  reentry dev                                              # broker, local cluster and all roles
  reentry submit --image alpine --wait -- sh -c 'echo hi'  # in the same directory, another terminal

Settings are flags, REENTRY_… variables, or keys of a file (--config); \`reentry COMMAND --help\` lists them.
\`reentry docs\` shows the manuals.
Exit codes: 0 success, 1 failed, 2 usage, 3 skipped, 4 cancelled, 5 broker or cluster unreachable.
The first Ctrl-C ends a command that waits (130; SIGTERM: 143), but not the run, and drains a role (0).`;

const COMMANDS = [
  devCommand,
  demoCommand,
  submitCommand,
  retryCommand,
  statusCommand,
  listCommand,
  logsCommand,
  cancelCommand,
  resultCommand,
  explainCommand,
  renderCommand,
  schemaCommand,
  docsCommand,
  setupCommand,
  queueCommand,
  dlqCommand,
  recoverCommand,
  doctorCommand,
  workerCommand,
  triggererCommand,
  executorCommand,
  serveCommand,
] as const;

/** The whole command line. Answers go to stdout; everything else, including help after a usage error, goes to stderr. */
export function program(shell: Shell, finish: Finish): Command {
  const root = new Command('reentry')
    .description('Kubernetes pods as durable, deferrable tasks over NATS')
    .version(shell.version)
    .addHelpText('after', OVERVIEW)
    .exitOverride()
    .showHelpAfterError('(see --help)');
  for (const make of COMMANDS) {
    const command = make(shell, finish).exitOverride().showHelpAfterError('(see --help)');
    root.addCommand(command);
  }
  return root;
}
