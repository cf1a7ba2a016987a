/** Child processes that do not outlive this one, however it ends. */
import { access, constants } from 'node:fs/promises';

/** The command, wrapped so that the kernel kills it when this process ends, where the machine supports that (Linux with util-linux). */
export async function tied([program = '', ...args]: readonly string[]): Promise<readonly [string, string[]]> {
  if (process.platform === 'linux')
    for (const setpriv of ['/usr/bin/setpriv', '/bin/setpriv'])
      try {
        await access(setpriv, constants.X_OK);
        return [setpriv, ['--pdeathsig', 'KILL', '--', program, ...args]];
      } catch {
        // the next directory
      }
  return [program, args];
}
