/** A reference for `waiting`: requests each of N pods every 2 s over keep-alive connections, and prints its requests per second. */
import { interval } from 'rxjs';
import { openApi } from './api.ts';

const [kubeconfig = '', namespace = '', prefix = '', count = '0'] = process.argv.slice(2);
const EVERY_MS = 2_000;
const api = openApi(kubeconfig);
let answered = 0;
const startedAt = performance.now();
const pods = Array.from({ length: Number(count) }, (_, n) => `${prefix}${String(n)}`);
const poll = async (pod: string): Promise<void> => {
  try {
    const { body } = await api.call('GET', `/api/v1/namespaces/${namespace}/pods/${pod}`);
    const phase: unknown = JSON.parse(await body.text());
    if (phase !== undefined) answered += 1;
  } catch {
    // The next poll repeats the request.
  }
};
for (const [n, pod] of pods.entries())
  setTimeout(
    () => {
      setInterval(() => void poll(pod), EVERY_MS);
    },
    (n * EVERY_MS) / pods.length,
  );
interval(1_000).subscribe(() => {
  process.stdout.write(`${String(Math.round((answered * 1_000) / (performance.now() - startedAt)))}\n`);
});
