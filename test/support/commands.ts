import { recordIn } from '../../src/core/json.ts';
import type { RunRequestInput } from '../../src/wire/run-request.ts';
import type { ClusterUnderTest, PodOptions } from './kubernetes.ts';
import type { RunningInstallation } from './running-installation.ts';

/** A request of a `command` run whose pod behaves as `options` describe; `beside`: further containers. */
export function commandOf(
  target: ClusterUnderTest,
  installation: Pick<RunningInstallation, 'namespace'>,
  options: PodOptions,
  more: Readonly<Record<string, unknown>> = {},
  beside: readonly Readonly<Record<string, unknown>>[] = [],
): RunRequestInput {
  const pod: Readonly<Record<string, unknown>> = target.pod(options);
  const override = {
    metadata: { annotations: recordIn(pod['metadata'], 'annotations') },
    spec: {
      nodeSelector: recordIn(pod['spec'], 'nodeSelector'),
      terminationGracePeriodSeconds: 1,
      ...(beside.length === 0 ? {} : { containers: [{}, ...beside] }),
    },
  };
  const command = options.script === undefined ? ['true'] : ['sh', '-c', options.script];
  return {
    operator: 'command',
    params: JSON.parse(
      JSON.stringify({
        ...{ command, image: 'busybox', namespace: installation.namespace, executorConfig: { podOverride: override } },
        ...more,
      }),
    ),
  };
}
