/**
 * What the browser tests share: counted checks, the ledger's answers, and how to start a Chromium that
 * reaches nothing but the collector. Each check prints one line; `finish` prints `N passed, N failed` and ends the process.
 */
import { setTimeout as sleep } from 'node:timers/promises';

let passed = 0, failed = 0;
export const check = (ok, what, seen) => {
  if (ok) passed += 1; else failed += 1;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${what}${ok || seen === undefined ? '' : ` (saw ${JSON.stringify(seen)})`}`);
};

/** A chapter of its own: what breaks it off is one failed check, and the others go on. */
export const story = async (name, f) => {
  try { await f(); } catch (e) { check(false, `${name}: ran to its end`, String(e.message ?? e).split('\n')[0]); }
};

/** The ledger of a site, and ways to wait for it. */
export const ledger = (admin, site) => {
  const total = async () => {
    const answer = await fetch(`${admin}/v1/sites/${site}/ledger`, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`the ledger answered ${answer.status}`);
    const { total: t } = await answer.json();
    return { received: 0, stored: 0, duplicate: 0, failed: 0, ...t, refused: t.refused ?? {} };
  };
  /** Asks until `done` likes the ledger, 5 s at most; the last answer either way. */
  const totalWhen = async (done) => {
    let t = await total();
    for (let i = 0; i < 25 && !done(t); i += 1) {
      await sleep(200);
      t = await total();
    }
    return t;
  };
  return { total, totalWhen };
};

/** How a Chromium is started that knows the hosts of `rules` and no other. */
export const settings = (rules) => ({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  timeout: 60_000,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    `--host-resolver-rules=${[...rules, 'MAP * ~NOTFOUND'].join(', ')}`],
});

/** Ends the process when the whole test takes longer than `seconds`; gives what calls that off. */
export const within = (seconds) => {
  const giveUp = setTimeout(() => {
    check(false, `the whole test within ${seconds} s`);
    finish();
  }, seconds * 1000);
  return () => clearTimeout(giveUp);
};

export const finish = () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
};
