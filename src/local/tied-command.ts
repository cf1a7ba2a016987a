/** Child processes that do not outlive this one, however it ends. */
import { access, constants } from 'node:fs/promises';

/** The command, tied to this process's life where the machine can do that (Linux with util-linux): the kernel then kills the child with us. */
export async function tied([program = '', ...args]: readonly string[]): Promise<readonly [string, string[]]> {
  if (process.platform === 'linux')
    for (const setpriv of ['/usr/bin/setpriv', '/bin/setpriv'])
      try {
        await access(setpriv, constants.X_OK);
        return [setpriv, ['--pdeathsig', 'KILL', '--', program, ...args]];
      } catch {
        // the next place
      }
  return [program, args];
}
