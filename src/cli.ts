#!/usr/bin/env node
/**
 * The entry: reads the environment once, and lets Node keep what it compiles. A process that finds its code compiled starts in less
 * time and some 20 MB smaller, because the compiler of TypeScript is not even loaded. `NODE_COMPILE_CACHE` names another folder.
 */
import { enableCompileCache, flushCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** By then a role has loaded all it needs; a process that is killed later leaves it to the next one. */
const FLUSH_AFTER_MS = 10_000;

const { env } = process;
const base = env['XDG_CACHE_HOME'];
const userCache = join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'reentry');
// Where nothing can be written, Node goes on without.
enableCompileCache(join(userCache, 'compiled'));
setTimeout(flushCompileCache, FLUSH_AFTER_MS).unref();

// Late, because what is imported above is compiled before this line.
const { main } = await import('./main.ts');
await main({ env, userCache, entry: fileURLToPath(import.meta.url) });
