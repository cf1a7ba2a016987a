/** The operators of this version, bound to the settings of the process. */
import type { Config } from '../config.ts';
import type { CommandOperatorOptions } from '../operator/command-operator.ts';
import type { CallbackRegistry } from '../operator/callbacks.ts';
import type { DefinedOperator } from '../operator/define-operator.ts';
import type { Operator } from '../operator/operator.ts';
import type { Log } from '../ports/ambient.ts';
import { openPolicy } from './policy.ts';
import { commandSettings } from './settings.ts';
import { templateIn, templatesIn } from './pod-templates.ts';

/** Makes operators; loaded late, so that commands that need none do not wait for them. */
export async function boundOperators() {
  const [{ podOperator }, { CommandOperator }] = await Promise.all([
    import('../operator/define-operator.ts'),
    import('../operator/command-operator.ts'),
  ]);
  const common = (config: Config, log: Log) => ({
    podSecurity: config.podSecurity,
    podTemplates: templatesIn(config.templateFolder),
    policy: config.policy === undefined ? undefined : openPolicy(config.policy, log),
  });
  return {
    /** What worker queues run. */
    podOperators(
      config: Config,
      operators: readonly DefinedOperator[],
      log: Log,
      callbacks: CallbackRegistry = {},
    ): readonly Operator<unknown>[] {
      const options = { ...common(config, log), callbacks };
      // A later one of the same name takes the earlier one's place.
      return [podOperator, ...operators].map((operator) => operator.with(options));
    },
    /** What executor queues run. */
    commandOperator(config: Config, log: Log, parts: Pick<CommandOperatorOptions, 'launcher' | 'launched'> = {}) {
      const template = config.executorPodTemplateFile;
      return new CommandOperator({
        ...commandSettings(config),
        ...common(config, log),
        podTemplate: template === undefined ? undefined : templateIn(template),
        ...parts,
      });
    },
  };
}
