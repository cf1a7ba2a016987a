import type { ReentryProcess } from './processes.ts';

/** What an executor says of its slots on its own `/metrics`. */
export async function slotsOf(
  executor: ReentryProcess,
): Promise<{ readonly open: number; readonly running: number; readonly executors: number }> {
  const port = /"port":(\d+)/.exec(executor.stderr())?.[1] ?? '0';
  // Before it serves, it has none to tell.
  const text = await fetch(`http://127.0.0.1:${port}/metrics`).then(
    (reply) => reply.text(),
    () => '',
  );
  const valueOf = (name: string): number =>
    Number(new RegExp(`^reentry_executor_${name}\\{queue="executor"\\} (\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { open: valueOf('open_slots'), running: valueOf('running_tasks'), executors: valueOf('live_executors') };
}
