import type { Command } from 'commander';
import { stringify } from 'yaml';
import { z } from 'zod';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { requestFlags, requestFrom } from './request.ts';
import { action, CLIENT_SETTINGS, declare } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const optionsSchema = z.object({ server: z.boolean().default(false) });

/** `reentry render`: the pod of a request. */
export function renderCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'render',
    summary: 'print the pod that a request would create; nothing is created',
    settings: CLIENT_SETTINGS,
    examples: [
      'reentry render --image alpine --name hello -- echo hi',
      'reentry render -f request.yaml --server --json',
    ],
  });
  requestFlags(command).option('--server', 'also validate it by a dry run on the API server');
  return action(command, shell, finish, async (invocation, options, args) => {
    const request = await requestFrom(shell, options, args);
    await using client = await openClient(invocation);
    const manifest = await client.render(request, optionsSchema.parse(options));
    shell.out(invocation.json ? JSON.stringify(manifest) : stringify(manifest).trimEnd());
    return EXIT_CODES.ok;
  });
}
