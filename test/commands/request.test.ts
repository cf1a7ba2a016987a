import { describe, expect, test } from 'vitest';
import { shellWords } from '../../src/commands/request.ts';

describe('a command given as one text is taken apart as a shell would, and nothing is expanded', () => {
  test.each<[string, readonly string[]]>([
    ['airflow tasks run sales load run-1', ['airflow', 'tasks', 'run', 'sales', 'load', 'run-1']],
    ['  sh -c "echo \'hi\'; exit 3"  ', ['sh', '-c', "echo 'hi'; exit 3"]],
    [String.raw`a\ b "c \"d\" \$e" 'f\g'`, ['a b', String.raw`c "d" \$e`, String.raw`f\g`]],
    ['echo $HOME *.txt', ['echo', '$HOME', '*.txt']],
    ['--x="a b"c ""', ['--x=a bc', '']],
  ])('%s', (line, words) => {
    expect(shellWords(line)).toEqual(words);
  });
});
