import { defineConfig } from 'vitest/config';

/** One project per folder of `test/`: what a test needs is its folder. */
const project = (
  name: string,
  options: { readonly testTimeout?: number; readonly fileParallelism?: boolean } = {},
) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], ...options },
});

/** Tests that start real servers or processes share the machine: one file at a time, with patience for a slow start. */
const real = { testTimeout: 60_000, hookTimeout: 120_000, fileParallelism: false };

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      project('core'),
      project('wire'),
      project('trigger'),
      project('oracle'),
      project('parity'),
      project('operator', real),
      project('executor', real),
      project('nats', real),
      project('kubernetes', real),
      project('local', real),
      project('client', real),
      project('roles', real),
      project('commands', real),
      project('helm', real),
      project('contracts', real),
      project('e2e', { ...real, testTimeout: 300_000 }),
    ],
  },
});
