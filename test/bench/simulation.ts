/** 2,000 runs under faults: `node test/bench/simulation.ts [runs] [seed]`. Prints one JSON line; exit code 1 if a promise was broken. */
import { simulate } from '../support/simulation.ts';

const [runs = 2_000, seed = 1] = process.argv.slice(2).map(Number);
const report = await simulate({
  runs,
  workers: 4,
  odds: { crash: 0.04, stall: 0.01, duplicate: 0.05 },
  cancels: 0.1,
  duplicateRequests: 0.2,
  serverKills: 3,
  seed,
  deadlineMs: 1_200_000,
});
console.log(JSON.stringify({ bench: 'simulation', ...report }));
const broken =
  report.notOnce.length +
  report.secondWon.length +
  report.podsTwice.length +
  report.podsLeft.length +
  report.subscriptionsLeft.length;
if (broken + report.messagesLeft > 0) process.exitCode = 1;
