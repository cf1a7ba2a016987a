/** Live memory of a Node process: what is left after a garbage collection, read through its inspector. */
import { once } from 'node:events';
import { z } from 'zod';
import type { ReentryProcess } from '../support/processes.ts';

/** For the environment of the process: an inspector on a loopback port of its choice. */
export const INSPECTED = '--inspect=127.0.0.1:0';

const answerSchema = z.looseObject({
  id: z.number().optional(),
  result: z.looseObject({ result: z.looseObject({ value: z.number().optional() }).optional() }).optional(),
});

/** An open inspector. */
export interface LiveMemory extends Disposable {
  /** Megabytes on the heap and outside of it that are still reachable: garbage is collected first. */
  liveMb(): Promise<number>;
}

/** Opens the inspector of a process that was started with `INSPECTED`. */
export async function liveMemoryOf(process: ReentryProcess): Promise<LiveMemory> {
  const url = /Debugger listening on (ws:\S+)/.exec(process.stderr())?.[1];
  if (url === undefined) throw new Error(`process ${String(process.pid)} was not started with ${INSPECTED}`);
  const socket = new WebSocket(url);
  await once(socket, 'open');
  const answers = new Map<number, (value: number | undefined) => void>();
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = answerSchema.parse(JSON.parse(String(data)));
    if (id === undefined) return;
    answers.get(id)?.(result?.result?.value);
    answers.delete(id);
  });
  let serial = 0;
  const ask = async (method: string, params: object = {}): Promise<number | undefined> => {
    serial += 1;
    const answer = Promise.withResolvers<number | undefined>();
    answers.set(serial, answer.resolve);
    socket.send(JSON.stringify({ id: serial, method, params }));
    return await answer.promise;
  };
  return {
    async liveMb() {
      await ask('HeapProfiler.collectGarbage');
      const expression = '(({ heapUsed, external }) => (heapUsed + external) / 1e6)(process.memoryUsage())';
      const value = await ask('Runtime.evaluate', { expression, returnByValue: true });
      if (value === undefined) throw new Error('the inspector returned no number');
      return value;
    },
    [Symbol.dispose]() {
      socket.close();
    },
  };
}
