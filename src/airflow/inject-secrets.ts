/** Service account keys from files into Secrets, as the oldest generation did at its start. @see spec executor §7.8 */
import { readFile } from 'node:fs/promises';
import type { Log } from '../ports/ambient.ts';
import type { SecretWriter } from '../ports/cluster.ts';
import { type LegacyOptions, serviceAccountKeys } from './legacy-options.ts';

/** Key of the file in its Secret. */
const KEY_FILE = 'key.json';

/**
 * Makes or replaces a Secret for each configured key. What cannot be read or written is logged and thrown: pods would wait for it in vain.
 * @throws ReentryError CONFIG_INVALID for a list that is not name=path; KubernetesError; a file's error
 */
export async function injectSecrets(
  writer: SecretWriter,
  namespace: string,
  options: LegacyOptions,
  log?: Log,
): Promise<void> {
  for (const { name, path } of serviceAccountKeys(options)) {
    try {
      const outcome = await writer.putSecret(namespace, name, { [KEY_FILE]: await readFile(path) });
      log?.info({ secret: name, namespace }, `the secret of a service account was ${outcome}`);
    } catch (error) {
      log?.error({ secret: name, namespace, err: error }, 'the secret of a service account could not be made');
      throw error;
    }
  }
}
