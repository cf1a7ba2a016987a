import type { Command } from 'commander';
import { Argument } from 'commander';
import { EXIT_CODES } from './exit-codes.ts';
import { action, declare } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { asyncApi, requestSchema } from '../wire/schema.ts';

/** `reentry schema`: the messages of the client contract, as schemas. */
export function schemaCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'schema',
    summary: 'print the JSON Schema of run requests, or the AsyncAPI document of all messages',
    settings: ['subjectRoot'],
    examples: ['reentry schema > request.schema.json', 'reentry schema asyncapi'],
  }).addArgument(new Argument('[document]', 'document to print').choices(['request', 'asyncapi']).default('request'));
  return action(command, shell, finish, async (invocation, _options, args) => {
    const document = args[0] === 'asyncapi' ? asyncApi(invocation.config.subjectRoot, shell.version) : await requests();
    shell.out(JSON.stringify(document, undefined, 2));
    return EXIT_CODES.ok;
  });
}

async function requests() {
  const [{ podParamsSchema }, { commandParamsSchema }] = await Promise.all([
    import('../operator/pod-params.ts'),
    import('../operator/command-params.ts'),
  ]);
  return requestSchema({ pod: podParamsSchema, command: commandParamsSchema });
}
