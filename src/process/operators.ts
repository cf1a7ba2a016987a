/** The operators of this version, bound to the settings of the process. */
import type { Config } from '../config.ts';
import type { CommandOperatorOptions } from '../operator/command-operator.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Operator } from '../operator/operator.ts';
import { templateIn, templatesIn } from './files.ts';
import type { Policy } from '../policy/policy.ts';
import type { WatchedFile } from './watched-file.ts';
import { commandSettings } from './settings.ts';

type PolicyFile = WatchedFile<Policy> | undefined;

/** Factories of operators; their code is loaded here, so that commands without operators do not wait for it. */
export async function boundOperators() {
  const [{ podOperator }, { CommandOperator }] = await Promise.all([
    import('../operator/define-operator.ts'),
    import('../operator/command-operator.ts'),
  ]);
  const common = (config: Config, policy: PolicyFile) => ({
    podSecurity: config.podSecurity,
    podTemplates: templatesIn(config.templateFolder),
    policy: policy === undefined ? undefined : () => policy.value ?? { unavailable: policy.problem ?? '' },
  });
  return {
    /** Operators of worker queues. */
    podOperators(
      config: Config,
      operators: readonly DefinedOperator[],
      policy: PolicyFile,
      callbacks: CallbackRegistry = {},
    ): readonly Operator<unknown>[] {
      const options = { ...common(config, policy), callbacks };
      // Of two operators with the same name, the later one is used.
      return [podOperator, ...operators].map((operator) => operator.with(options));
    },
    /** The operator of executor queues. */
    commandOperator(
      config: Config,
      policy: PolicyFile,
      parts: Pick<CommandOperatorOptions, 'launcher' | 'created' | 'uncertain'> = {},
    ) {
      const template = config.executorPodTemplateFile;
      return new CommandOperator({
        ...commandSettings(config),
        ...common(config, policy),
        podTemplate: template === undefined ? undefined : templateIn(template),
        ...parts,
      });
    },
  };
}
