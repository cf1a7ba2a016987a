import type { ReentryProcess } from './processes.ts';

/** An executor's slots, from its own `/metrics`. */
export async function slotsOf(
  executor: ReentryProcess,
): Promise<{ readonly open: number; readonly running: number; readonly executors: number }> {
  const port = /"port":(\d+)/.exec(executor.stderr())?.[1] ?? '0';
  // Until it serves, it has no metrics.
  const text = await fetch(`http://127.0.0.1:${port}/metrics`).then(
    (reply) => reply.text(),
    () => '',
  );
  const valueOf = (name: string): number =>
    Number(new RegExp(`^reentry_executor_${name}\\{queue="executor"\\} (\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { open: valueOf('open_slots'), running: valueOf('running_tasks'), executors: valueOf('live_executors') };
}
