/**
 * Published trackers of other makers, unchanged, against a running collector: each event sent is compared with
 * its row, with consent, refused, opted out (by the cookie where the client sends one, by the visitor's objection
 * where it names the visitor itself), after an outage, and where the collector says that it is of no use to try again.
 *   node clients.mjs PUBLIC_URL ADMIN_URL BINARY SETTINGS
 * CLIENTS_CACHE names the folder where their packages lie. Prints one line a check, then `N passed, N failed`.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { FRANCE, check, modules, stage, until, verdict } from './stage.mjs';

const set = await stage(process.argv.slice(2));
const { state } = set;
state.from = FRANCE; // consent is asked: a row needs it

const packaged = (path) => readFileSync(`${process.env.CLIENTS_CACHE}/node_modules/${path}`, 'utf8');
const SCRIPTS = { snowplow: '@snowplow/browser-tracker/dist/index.umd.min.js', segment: '@segment/analytics-next/dist/umd/index.js', rudder: '@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js' };
for (const [name, path] of Object.entries(SCRIPTS)) {
  state.pages.set(`/${name}.js`, { type: 'text/javascript', body: packaged(path) });
  state.pages.set(`/${name}.html`, { body: `<!doctype html><title>${name}</title><script src="/${name}.js"></script><p>page` });
}

/** The rows of a site as JSON, by their titles or events. */
const rowsOf = (site) => set.rows(`select event, page_title, page_path, protocol, channel, consent_source, visitor_id, properties['label'] as label, properties['plan'] as plan from interactions where site = '${site}' order by received_at`);
const count = async (site) => {
  const total = await set.ledger(site);
  return { stored: 0, failed: 0, ...total, refused: total.refused ?? {} };
};

/**
 * Drives one client through all of it. `send(mode)` sends events that `expected` says the rows of.
 * `retries`: what the client does with a 503 by its own design.
 */
const drive = async (site, protocol, channel, send, { expected, retries, optOut }) => {
  try {
    await send('granted');
    const seen = await until(() => count(site), (total) => total.stored >= expected.length);
    check(seen.stored === expected.length, `${site}: ${expected.length} events with consent, ${expected.length} rows`, seen);
    await send('denied');
    const denied = await until(() => count(site), (total) => (total.refused.no_consent ?? 0) >= 1);
    check(denied.refused.no_consent >= 1 && denied.stored === expected.length, `${site}: none where consent was refused`, denied);
    let stored = expected.length;
    if (optOut) {
      await send('opted out');
      const out = await until(() => count(site), (total) => (total.refused.opted_out ?? 0) >= 1);
      check(out.refused.opted_out >= 1 && out.stored === stored, `${site}: none of who opted out`, out);
    }
    state.refuse = 1;
    await send('outage');
    const wanted = retries ? stored + 1 : stored;
    const after = await until(() => count(site), (total) => total.stored >= wanted && state.refuse === 0);
    check(state.refuse === 0 && after.stored === wanted, `${site}: after a 503 the event ${retries ? 'comes again and is kept once' : 'is given up, as this client does'}`, after);
    stored = wanted;
    // What cannot come better is told by a status of its own, and does not come again.
    const [before, status] = [state.calls.length, protocol === 'snowplow' ? 422 : 413];
    Object.assign(state, { refuse: 1, status });
    await send('dropped');
    await sleep(3_000);
    state.status = 503;
    check(state.refuse === 0 && state.calls.length === before + 1, `${site}: what is answered ${status} is dropped`, state.calls.slice(before).map((call) => call.url));
    const rows = await until(() => rowsOf(site), (found) => found.length >= stored);
    for (const row of expected) {
      const fits = rows.filter((found) => Object.entries(row).every(([name, value]) => (found[name] ?? null) === value));
      check(fits.length === 1 && fits[0].protocol === protocol && fits[0].channel === channel && fits[0].consent_source === 'relayed', `${site}: ${JSON.stringify(row)}`, rows);
    }
    const visitors = new Set(rows.filter((row) => row.page_title !== 'outage').map((row) => row.visitor_id));
    check(visitors.size === 1 && !visitors.has(null), `${site}: one visitor`, [...visitors]);
    if (!optOut) {
      const status = await set.object(site, [...visitors][0]);
      await send('objected');
      const out = await until(() => count(site), (total) => (total.refused.opted_out ?? 0) >= 1);
      check(status === 202 && out.refused.opted_out >= 1 && out.stored === stored, `${site}: none of who objected`, [status, out]);
    }
  } catch (error) {
    check(false, `${site}: ${error.stack}`);
  }
};

// Servers ------------------------------------------------------------------------------------------
const word = (mode) => (mode === 'denied' ? 'denied' : 'granted');
const consent = (mode) => ({ schema: 'iglu:clearpixel/consent/jsonschema/1-0-0', data: { consent: word(mode) } });
const PURCHASE = { schema: 'iglu:com.acme/purchase/jsonschema/1-0-0', data: { plan: 'gold' } };
const SNOWPLOW_ROWS = [{ event: 'page_view', page_title: 'granted' }, { event: 'add', label: 'shoes' }, { event: 'purchase', plan: 'gold' }];

const node = modules('@snowplow/node-tracker');
await drive('snowplow-node', 'snowplow', 'server', async (mode) => {
  const tracker = node.newTracker({ namespace: 'n', appId: 'snowplow-node', encodeBase64: mode === 'granted' }, { endpoint: set.url, eventMethod: 'post', bufferSize: 1 });
  tracker.setDomainUserId('d1');
  const track = (event) => tracker.track(event, [consent(mode)]);
  track(node.buildPageView({ pageUrl: `https://shop.example/${mode}`, pageTitle: mode }));
  if (mode === 'granted') {
    track(node.buildStructEvent({ category: 'shop', action: 'add', label: 'shoes', value: 2 }));
    track(node.buildSelfDescribingEvent({ event: PURCHASE }));
  }
  tracker.flush();
  if (mode === 'outage') {
    // It keeps what failed until it is told of the next event, or to flush.
    await until(() => state.refuse, (left) => left === 0);
    await sleep(500);
    tracker.flush();
  }
}, { expected: SNOWPLOW_ROWS, retries: true });

await drive('snowplow-python', 'snowplow', 'server', (mode) => promisify(execFile)(`${process.env.CLIENTS_CACHE}/venv/bin/python`, [new URL('clients.py', import.meta.url).pathname, set.url, mode]),
  { expected: SNOWPLOW_ROWS, retries: true });

const { Analytics } = modules('@segment/analytics-node');
await drive('segment-node', 'segment', 'server', async (mode) => {
  const analytics = new Analytics({ writeKey: 'segment-node', host: set.url, path: '/v1/batch', flushAt: 10 });
  const context = { page: { title: mode, url: `https://shop.example/${mode}` }, consent: { categoryPreferences: { Analytics: mode !== 'denied', Advertising: false } } };
  analytics.page({ anonymousId: 'a1', context });
  if (mode === 'granted') {
    analytics.track({ anonymousId: 'a1', event: 'Order Completed', properties: { plan: 'gold' }, context });
    analytics.identify({ anonymousId: 'a1', userId: 'u1', traits: { plan: 'never' }, context });
  }
  await analytics.closeAndFlush({ timeout: 20_000 });
}, { expected: [{ event: 'page_view', page_title: 'granted' }, { event: 'Order Completed', plan: 'gold' }, { event: 'identify', plan: null }], retries: true });

const MatomoTracker = modules('matomo-tracker');
await drive('matomo-node', 'matomo', 'web', (mode) => new Promise((resolve) => {
  const tracker = new MatomoTracker('matomo-node', `${set.url}/matomo.php`);
  tracker.on('error', resolve);
  const hit = (more) => ({ url: `https://shop.example/${mode}`, action_name: mode, cid: '0123456789abcdef', consent: word(mode), ...more });
  if (mode === 'granted') {
    tracker.track(hit({ e_c: 'shop', e_a: 'add', e_n: 'shoes', dimension1: 'x' }));
    tracker.trackBulk([hit({}), hit({ link: 'https://elsewhere.example/' })], resolve);
  } else {
    tracker.track(hit({}));
    setTimeout(resolve, 1_000);
  }
}), { expected: [{ event: 'page_view', page_title: 'granted' }, { event: 'add' }, { event: 'outbound_click' }], retries: false });

// Browsers -----------------------------------------------------------------------------------------
const browser = await set.browser();
/** A page of its own profile, with the choice that the mode asks for. */
const inPage = (name, site, script) => async (mode) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  if (mode === 'opted out') {
    await page.goto(`${set.url}/optout?s=${site}`);
  }
  await page.goto(`${set.url}/${name}.html`);
  await page.evaluate((title) => { document.title = title; }, mode);
  const before = state.calls.length;
  await page.evaluate(script, { mode, site, url: set.url, word: word(mode) });
  await until(() => state.calls.length, (calls) => calls > before);
  if (mode === 'outage') await until(() => state.refuse + state.calls.length, () => state.refuse === 0 && state.calls.length > before + 1);
  if (mode === 'granted') await until(() => count(site), (total) => total.stored >= 3);
  if (mode === 'dropped') await sleep(3_000);
  await context.close();
};
/** One visitor: the client's own id is the same in each profile. */
await drive('snowplow-browser', 'snowplow', 'web', inPage('snowplow', 'snowplow-browser', ({ mode, site, url, word: said }) => {
  const sp = window.snowplowBrowserTracking;
  document.cookie = '_sp_id.1fff=11111111-1111-4111-8111-111111111111.1.1.1.1.1.1.1.1;path=/';
  sp.newTracker('sp', url, { appId: site, platform: 'web', cookieSecure: false });
  sp.addGlobalContexts([{ schema: 'iglu:clearpixel/consent/jsonschema/1-0-0', data: { consent: said } }]);
  sp.trackPageView({ title: mode });
  if (mode === 'granted') {
    sp.trackStructEvent({ category: 'shop', action: 'add', label: 'shoes' });
    sp.trackSelfDescribingEvent({ event: { schema: 'iglu:com.acme/purchase/jsonschema/1-0-0', data: { plan: 'gold' } } });
  }
}), { expected: SNOWPLOW_ROWS, retries: true, optOut: true });

await drive('segment-browser', 'segment', 'web', inPage('segment', 'segment-browser', async ({ mode, site, url, word: said }) => {
  localStorage.setItem('ajs_anonymous_id', '"a1"');
  const [analytics] = await window.AnalyticsNext.AnalyticsBrowser.load({
    writeKey: site,
    cdnSettings: { integrations: { 'Segment.io': { apiKey: site, apiHost: `${url.slice(7)}/v1`, protocol: 'http' } } },
  });
  const options = { context: { consent: { categoryPreferences: { Analytics: said === 'granted' } } } };
  await analytics.page('', '', { title: mode }, options);
  if (mode === 'granted') {
    await analytics.track('Order Completed', { plan: 'gold' }, options);
    await analytics.identify('u1', { plan: 'never' }, options);
  }
}), { expected: [{ event: 'page_view', page_title: 'granted' }, { event: 'Order Completed', plan: 'gold' }, { event: 'identify', plan: null }], retries: true });

await drive('rudder-browser', 'segment', 'web', inPage('rudder', 'rudder-browser', ({ mode, site, url, word: said }) => {
  const analytics = new window.rudderanalytics.RudderAnalytics();
  const source = { source: { id: 's', name: 's', writeKey: site, enabled: true, workspaceId: 'w', updatedAt: '', config: { statsCollection: { errors: { enabled: false }, metrics: { enabled: false } } }, destinations: [], connections: [], dataplanes: {} } };
  analytics.load(site, url, {
    getSourceConfig: () => source,
    plugins: [],
    consentManagement: { enabled: true, provider: 'custom', allowedConsentIds: said === 'granted' ? ['analytics'] : [], deniedConsentIds: said === 'granted' ? [] : ['analytics'] },
    preConsent: { enabled: false },
  });
  analytics.setAnonymousId('a1');
  analytics.page(undefined, undefined, { title: mode });
  if (mode === 'granted') {
    analytics.track('Order Completed', { plan: 'gold' });
    analytics.identify('u1', { plan: 'never' });
  }
}), { expected: [{ event: 'page_view', page_title: 'granted' }, { event: 'Order Completed', plan: 'gold' }, { event: 'identify', plan: null }], retries: true });

// The package brings no script of its own: it loads `matomo.js` from the collector, and talks to that.
for (const name of ['index', 'MatomoTracker', 'constants', 'types']) {
  const body = packaged(`@jonkoops/matomo-tracker/es/${name}.js`);
  for (const path of [`/jonkoops/${name}`, `/jonkoops/${name}.js`]) state.pages.set(path, { type: 'text/javascript', body });
}
state.pages.set('/matomo.html', { body: '<!doctype html><title>matomo</title><script>/* something to stand before */</script><p>page' });
await drive('matomo-browser', 'matomo', 'web', inPage('matomo', 'matomo-browser', async ({ mode, site, url, word: said }) => {
  const { default: Tracker } = await import('/jonkoops/index');
  const choice = said === 'granted' ? { requireConsent: [], setConsentGiven: [] } : {};
  const tracker = new Tracker({ urlBase: url, siteId: site, heartBeat: { active: false }, configurations: choice });
  tracker.trackPageView({ documentTitle: mode, href: `https://shop.example/${mode}` });
  if (mode === 'granted') {
    tracker.trackEvent({ category: 'shop', action: 'add', name: 'shoes', customDimensions: [{ id: 1, value: 'gold' }] });
    tracker.trackLink({ href: 'https://elsewhere.example/', linkType: 'link' });
  }
}), { expected: [{ event: 'page_view', page_title: 'granted' }, { event: 'add' }, { event: 'outbound_click' }], retries: true, optOut: true });

// What Matomo's own snippet does with it: consent asked for and remembered, links, downloads, the shop, opting out.
try {
  const site = 'matomo-browser';
  state.pages.set('/snippet.html', { body: `<!doctype html><title>snippet</title><script>
    var _paq = window._paq = window._paq || [];
    _paq.push(['trackPageView']); _paq.push(['requireConsent']); _paq.push(['enableLinkTracking']);
    (function() { var u='/'; _paq.push(['setTrackerUrl', u+'matomo.php']); _paq.push(['setSiteId', '${site}']);
      var d=document, g=d.createElement('script'), s=d.getElementsByTagName('script')[0]; g.async=true; g.src=u+'matomo.js'; s.parentNode.insertBefore(g,s); })();
    </script><a href="/list.pdf">list</a><a href="https://elsewhere.example/x">out</a>` });
  const context = await browser.newContext();
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  const open = async () => { await page.goto(`${set.url}/snippet.html`); await page.waitForFunction(() => Boolean(window.Matomo)); };
  const events = async () => (await rowsOf(site)).filter((row) => row.page_path === '/snippet.html').map((row) => row.event).sort().join();
  const sent = () => state.calls.filter((call) => call.path === '/matomo.php').length;
  await open();
  await sleep(500);
  const silent = sent();
  await page.evaluate(() => window._paq.push(['rememberConsentGiven']));
  await page.evaluate(() => { addEventListener('click', (e) => e.preventDefault()); for (const a of document.querySelectorAll('a')) a.click(); });
  await page.evaluate(() => {
    window._paq.push(['addEcommerceItem', 'sku-1', 'Pen', 'Pens', 2.5, 2], ['trackEcommerceOrder', 'o1', 5], ['nonsense'], [function () { this.trackGoal(3); }]);
  });
  const wanted = 'download,goal,order,outbound_click,page_view';
  const seen = await until(events, (found) => found === wanted);
  check(seen === wanted, 'matomo.js: what waited for consent, a download, a link, an order, a goal', seen);
  check(sent() - silent === 5, 'and nothing of it before consent', [silent, sent()]);
  await open();
  const again = await until(events, (found) => found === `${wanted},page_view`);
  check(again === `${wanted},page_view`, 'matomo.js: consent that the page asked to remember is remembered', again);
  await page.evaluate(() => window._paq.push(['optUserOut'], ['trackPageView']));
  await until(() => state.calls, (calls) => calls.some((call) => call.path === '/optout' && call.method === 'POST'));
  const before = sent();
  await open();
  await sleep(1_000);
  check(sent() === before && (await context.cookies()).some((cookie) => cookie.name === `__Host-cp_optout.${site}`), 'matomo.js: an opt-out is told to the collector, and nothing is sent any more', sent() - before);
  check(errors.length === 0, 'matomo.js: no error in the page', errors);
  await context.close();
} catch (error) {
  check(false, `matomo.js: ${error.stack}`);
}

await browser.close();
set.close();
verdict();
