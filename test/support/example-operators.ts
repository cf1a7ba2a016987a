/** Operators as a user would write them; a worker loads this file with `--operators`. */
import { z } from 'zod';
import { defineOperator } from '../../src/index.ts';

/** Runs a pod that counts, waits for a while, and returns the count as result. */
export const countAndSettle = defineOperator({
  name: 'count-and-settle',
  params: z.strictObject({ to: z.number().int().min(1), settleSeconds: z.number().default(0.2) }),
  pod: ({ to }) => ({
    image: 'alpine',
    cmds: ['sh', '-c'],
    arguments: [`seq 1 ${String(to)}; echo ${String(to)} > /dev/termination-log`],
    doXcomPush: true,
    xcomMode: 'message',
  }),
  execute: (task) => task.launchPod({ method: 'counted' }),
  methods: {
    async counted(task, event) {
      const outcome = await task.finishPod(event);
      if (outcome.kind !== 'over' || outcome.outcome.state !== 'succeeded') return outcome;
      const counted = outcome.outcome.result ?? null;
      return task.waitFor(task.params.settleSeconds, { method: 'settled', kwargs: { counted } });
    },
    settled: (task) => task.succeed({ counted: task.kwargs['counted'] ?? null, attempt: task.attempt }),
  },
});

/** Has no pod: waits, and fails until its last attempt. */
export const waitThenFail = defineOperator({
  name: 'wait-then-fail',
  params: z.strictObject({ seconds: z.number(), succeedsAt: z.number().int().default(1) }),
  execute: (task) => task.waitFor(task.params.seconds),
  methods: {
    triggerReentry: (task) =>
      task.attempt < task.params.succeedsAt ? task.fail(`attempt ${String(task.attempt)}`) : task.skip('enough'),
  },
});
