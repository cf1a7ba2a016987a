/** The policy file as it is now: read again when it changes, so that no worker has to be restarted. */
import { readFileSync, statSync } from 'node:fs';
import type { Policy } from '../policy/policy.ts';
import { ReentryError } from '../errors.ts';
import { parsePolicy } from '../policy/policy-file.ts';
import type { Log } from '../ports/ambient.ts';

/** How often the file is looked at, at most, in milliseconds. */
const LOOK_EVERY_MS = 1_000;

/** What tells one version of the file from another; a mounted ConfigMap is swapped by a link, so the inode counts. */
function versionOf(file: string): string {
  const { mtimeMs, size, ino } = statSync(file);
  return `${String(mtimeMs)}/${String(size)}/${String(ino)}`;
}

/**
 * Opens the policy: what it gives answers with the present one. A change that cannot be read or is wrong is logged, and the last good one stays.
 * @throws ReentryError CONFIG_INVALID when the file is wrong from the start
 */
export function openPolicy(file: string, log: Log, now: () => number = Date.now): () => Policy {
  const read = (): { readonly version: string; readonly policy: Policy } => {
    try {
      const version = versionOf(file);
      return { version, policy: parsePolicy(file, readFileSync(file, 'utf8')) };
    } catch (cause) {
      if (cause instanceof ReentryError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new ReentryError('CONFIG_INVALID', `cannot read ${file}: ${why}`, { transient: false, cause });
    }
  };
  let present = read();
  let lookedAt = now();
  let refused = '';
  return () => {
    if (now() - lookedAt < LOOK_EVERY_MS) return present.policy;
    lookedAt = now();
    let version = 'missing';
    try {
      version = versionOf(file);
      if (version === present.version) return present.policy;
      present = read();
      refused = '';
      log.info({ file }, 'the policy has changed');
    } catch (error) {
      // Said once for each version of the file.
      if (version !== refused)
        log.error({ file, error: String(error) }, 'the changed policy cannot be used; the last good one stays');
      refused = version;
    }
    return present.policy;
  };
}
