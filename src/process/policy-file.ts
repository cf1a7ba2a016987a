/** The policy file, read again when it changes, so that no worker has to be restarted. */
import { readFileSync, statSync } from 'node:fs';
import type { Policy } from '../policy/policy.ts';
import { ReentryError } from '../errors.ts';
import { parsePolicy } from '../policy/policy-file.ts';
import type { Log } from '../ports/ambient.ts';
import { unreadable } from './files.ts';

/** Minimum interval between two checks for a change. */
const CHECK_EVERY_MS = 1_000;

/** Identifies a version of the file. The inode is part of it because a mounted ConfigMap changes by swapping a link. */
function versionOf(file: string): string {
  const { mtimeMs, size, ino } = statSync(file);
  return `${String(mtimeMs)}/${String(size)}/${String(ino)}`;
}

/**
 * Opens the policy; the returned function gives the current one. When the file becomes unreadable or invalid, that is logged once per
 * version and the last valid policy stays in force.
 * @throws ReentryError CONFIG_INVALID when the file is invalid at first
 */
export function openPolicy(file: string, log: Log, now: () => number = Date.now): () => Policy {
  const read = (): { readonly version: string; readonly policy: Policy } => {
    try {
      const version = versionOf(file);
      return { version, policy: parsePolicy(file, readFileSync(file, 'utf8')) };
    } catch (cause) {
      throw cause instanceof ReentryError ? cause : unreadable(file, cause);
    }
  };
  let current = read();
  let checkedAt = now();
  let rejected = '';
  return () => {
    if (now() - checkedAt < CHECK_EVERY_MS) return current.policy;
    checkedAt = now();
    let version = 'missing';
    try {
      version = versionOf(file);
      if (version === current.version) return current.policy;
      current = read();
      rejected = '';
      log.info({ file }, 'policy file reloaded');
    } catch (error) {
      if (version !== rejected)
        log.error({ file, error: String(error) }, 'policy file is invalid; the last valid policy stays in force');
      rejected = version;
    }
    return current.policy;
  };
}
