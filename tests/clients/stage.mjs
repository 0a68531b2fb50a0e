/**
 * What both tests stand on: a proxy in front of the collector that gives each visitor a place, can be out of
 * order, and serves pages of its own; questions to the ledger and the lake; one browser; the count of checks.
 */
import { execFileSync } from 'node:child_process';
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

export const FRANCE = '90.0.0.1', UNITED_STATES = '8.8.8.8';
export const modules = createRequire(`${process.env.CLIENTS_CACHE}/package.json`);
const { chromium } = modules('playwright-core');

let passed = 0, failed = 0;
export const check = (ok, what, seen) => {
  if (ok) passed += 1; else failed += 1;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${what}${ok || seen === undefined ? '' : ` (saw ${JSON.stringify(seen)})`}`);
};
export const verdict = () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
};

/** Asks until `done` likes the answer, 20 s at most; the last answer either way. */
export const until = async (ask, done) => {
  let seen = await ask();
  for (let i = 0; i < 100 && !done(seen); i += 1) {
    await sleep(200);
    seen = await ask();
  }
  return seen;
};

/** @param {string[]} argv collector's public URL, admin URL, binary, settings */
export const stage = async ([publicUrl, adminUrl, binary, settings]) => {
  const upstream = new URL(publicUrl);
  const state = { from: UNITED_STATES, refuse: 0, status: 503, calls: [], pages: new Map(), policy: undefined, delay: 0 };
  const server = createServer(async (incoming, outgoing) => {
    const path = incoming.url.split('?')[0];
    const page = state.pages.get(path);
    if (page) {
      const headers = { 'Content-Type': page.type || 'text/html; charset=utf-8' };
      if (state.policy && !page.type) headers['Content-Security-Policy'] = state.policy;
      outgoing.writeHead(200, headers);
      outgoing.end(page.body);
      return;
    }
    // A script is no event: what of the collector's own is loaded is neither counted nor refused.
    const isEvent = incoming.method !== 'OPTIONS' && !path.endsWith('.js');
    if (isEvent) state.calls.push({ method: incoming.method, path, url: incoming.url, at: Date.now(), headers: incoming.headers });
    if (state.delay) await sleep(state.delay);
    if (state.refuse > 0 && isEvent) {
      // As the collector says it when its journal takes nothing; or, with another status, when it cannot read.
      state.refuse -= 1;
      incoming.resume();
      const headers = { Vary: 'Origin' };
      if (state.status === 503) headers['Retry-After'] = '1';
      if (incoming.headers.origin) Object.assign(headers, { 'Access-Control-Allow-Origin': incoming.headers.origin, 'Access-Control-Allow-Credentials': 'true' });
      outgoing.writeHead(state.status, headers);
      outgoing.end();
      return;
    }
    const onward = request({ host: upstream.hostname, port: upstream.port, method: incoming.method, path: incoming.url,
      headers: { ...incoming.headers, 'x-forwarded-for': state.from } }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise((resolve) => { server.listen(0, resolve); });
  const port = server.address().port;
  const ledger = async (site) => (await (await fetch(`${adminUrl}/v1/sites/${site}/ledger`)).json()).total;
  const rows = (sql) => execFileSync(binary, ['query', sql, '--format', 'ndjson', '--config', settings], { encoding: 'utf8' }).split('\n').filter(Boolean).map((line) => JSON.parse(line));
  /** Hands in a visitor's objection, as the client does for them: with the site's secret. */
  const object = async (site, visitor) => (await fetch(`${adminUrl}/v1/sites/${site}/requests`, {
    method: 'POST', headers: { Authorization: 'Bearer of-clients', 'Content-Type': 'application/json' }, body: JSON.stringify({ kind: 'objection', visitor_id: visitor }),
  })).status;
  return {
    state, port, ledger, rows, object,
    url: `http://127.0.0.1:${port}`,
    other: `http://localhost:${port}`,
    browser: () => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, timeout: 60_000,
      // What the test's driver takes away from every page: without it nothing comes back from the cache.
      ignoreDefaultArgs: ['--disable-back-forward-cache'],
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
        '--enable-features=BackForwardCache', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'] }),
    close: () => { server.closeAllConnections(); server.close(); },
  };
};
