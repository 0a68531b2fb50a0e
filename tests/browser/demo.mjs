/**
 * The browser test: drives the demonstration shop in a real Chromium and asks the ledger what became of it.
 *   node demo.mjs PUBLIC_URL ADMIN_URL [SCREENSHOT_DIR]
 * It needs a running `clearpixel demo` that nobody else visits meanwhile; the data folder need not be empty,
 * for it counts differences. It starts no server, leaves no process behind, and reaches no other host: what is
 * not the collector has no address in this browser. CHROMIUM names another browser than /usr/bin/chromium.
 * Prints one line a check, then `N passed, N failed`; exit 0 when all passed, 1 when not, 2 on wrong usage.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { check, finish, ledger, settings, story, within } from './checks.mjs';

const [publicUrl, adminUrl, shots] = process.argv.slice(2);
if (!publicUrl || !adminUrl) {
  console.error('usage: node demo.mjs PUBLIC_URL ADMIN_URL [SCREENSHOT_DIR]');
  process.exit(2);
}
const PUBLIC = publicUrl.replace(/\/$/, '');
const ADMIN = adminUrl.replace(/\/$/, '');
const ID = '__Host-cp_id.demo';
if (shots) mkdirSync(shots, { recursive: true });

const { total, totalWhen } = ledger(ADMIN, 'demo');
const refusals = (t) => Object.values(t.refused).reduce((a, b) => a + b, 0);
const balanced = (t) => t.received === t.stored + t.duplicate + t.failed + refusals(t);

// No name but the collector's is resolved. (Not by intercepting requests: that loses some of what a page
// sends while it is torn down.)
const hosts = [...new Set([PUBLIC, ADMIN].map((url) => new URL(url).hostname))];

// The browser ------------------------------------------------------------------------------------
const browser = await chromium.launch(settings(hosts.map((h) => `EXCLUDE ${h}`)));
const inTime = within(180);

/** A visitor of their own: no cookie of another's, errors kept, every message of the tag kept. */
const visitor = async (script) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  context.setDefaultTimeout(10_000);
  const sent = [], errors = [];
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (url.pathname === '/e' && request.resourceType() !== 'ping') sent.push(JSON.parse(request.postData() ?? '{}'));
    if (url.pathname === '/p.gif') sent.push(Object.fromEntries(url.searchParams));
  });
  context.on('weberror', (e) => errors.push(String(e.error())));
  // The browser does not show the test what a beacon carries, so the page tells.
  context.on('console', (m) => { if (m.text().startsWith('beacon {')) sent.push(JSON.parse(m.text().slice(7))); });
  await context.addInitScript(() => {
    const own = Navigator.prototype.sendBeacon;
    Navigator.prototype.sendBeacon = function (url, body) {
      body.text().then((text) => console.debug(`beacon ${text}`));
      return own.apply(this, arguments);
    };
  });
  context.on('console', (m) => { if (m.type() === 'error' && !/ERR_NAME_NOT_RESOLVED|ERR_FAILED|503/.test(m.text())) errors.push(`${m.text()} ${m.location().url}`); });
  if (script) await context.addInitScript(script);
  const page = await context.newPage();
  const cookie = async (name) => (await context.cookies()).find((c) => c.name === name && c.domain === new URL(PUBLIC).hostname);
  const shot = async (name) => { if (shots) await page.screenshot({ path: join(shots, `${name}.png`) }); };
  const of = (event) => sent.filter((h) => (h.event ?? h.e) === event);
  const sees = async (done) => { for (let i = 0; i < 25 && !done(); i += 1) await sleep(100); return done(); };
  return { context, page, sent, errors, cookie, shot, of, sees };
};

let zero;
await story('the ledger', async () => { zero = await total(); });

// 1. A visit, from the banner to the opt-out -------------------------------------------------------
await story('a visit', async () => {
  const v = await visitor();
  const { page } = v;

  await page.goto(`${PUBLIC}/`);
  await sleep(1500);
  let t = await totalWhen((t) => (t.refused.no_consent ?? 0) > (zero.refused.no_consent ?? 0));
  check(t.stored === zero.stored, 'before a choice nothing is stored', t);
  check((t.refused.no_consent ?? 0) > (zero.refused.no_consent ?? 0), 'the ledger says no_consent', t);
  check(!await v.cookie(ID), 'before a choice there is no id cookie');
  const left = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
  check(left.join() === ',0,0', 'scripts have left nothing in the browser', left);
  const first = v.of('page_view')[0] ?? {};
  check(/^[0-9a-f]{32}$/.test(first.event_id) && first.site === 'demo' && first.page_url === `${PUBLIC}/` &&
    first.screen_width > 0 && Math.abs(first.sent_at - first.occurred_at) < 5000, 'the page view has the fields it should', first);

  const banner = page.getByRole('region', { name: 'May we count your visit?' });
  check(await banner.isVisible(), 'the banner asks');
  const looks = await banner.getByRole('button').evaluateAll((all) => all.map((b) => {
    const s = getComputedStyle(b), r = b.getBoundingClientRect();
    return [s.color, s.backgroundColor, s.fontSize, s.fontWeight, Math.round(r.width), Math.round(r.height)].join();
  }));
  check(looks.length === 2 && looks[0] === looks[1], 'Accept and Refuse look alike', looks);
  await v.shot('1-banner');

  let before = t;
  await banner.getByRole('button', { name: 'Accept' }).click();
  t = await totalWhen((t) => t.stored > before.stored);
  check(t.stored === before.stored + 1, 'Accept: the page view is stored, once', t);
  check(Boolean(await v.cookie(ID)), 'Accept: the id cookie is set', (await v.context.cookies()).map((c) => c.name));
  const id = await v.cookie(ID);
  check(id && id.httpOnly && id.secure && id.path === '/', 'the id cookie is HttpOnly, Secure, on /', id && [id.httpOnly, id.secure, id.path]);
  const views = v.of('page_view');
  check(views.length === 2 && views[0].event_id === views[1].event_id && views[1].consent === 'granted', 'the same page view was announced again, with consent', views.length);
  check(!await banner.isVisible(), 'the banner has gone');

  // Another page: the page left reports its reading time, the new one its view
  before = t;
  await page.mouse.move(300, 300);
  await page.getByRole('navigation').getByRole('link', { name: 'Journal' }).click();
  await page.waitForURL('**/demo/journal');
  t = await totalWhen((t) => t.stored >= before.stored + 2);
  check(t.stored === before.stored + 2, 'another page: engagement and page_view are stored', t.stored - before.stored);
  await v.shot('2-after-consent');

  // Reading to the end. What a page sends while it is torn down is not always shown to the test, so the
  // page is told it is being left, and stays.
  before = t;
  await page.mouse.move(400, 400);
  await page.mouse.wheel(0, 9000);
  await page.waitForFunction(() => scrollY + innerHeight >= document.documentElement.scrollHeight - 2);
  await sleep(300);
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide')));
  await v.sees(() => v.of('engagement').some((h) => h.page_url === `${PUBLIC}/demo/journal`));
  const read = v.of('engagement').at(-1) ?? {};
  check(read.page_url === `${PUBLIC}/demo/journal` && read.engaged_ms > 0 && read.engaged_ms < 20_000 && read.scroll_percent === 100, 'reading time and depth of the article are sent', read);
  t = await totalWhen((t) => t.stored > before.stored);
  check(t.stored === before.stored + 1, 'reading time is stored', t.stored - before.stored);

  // An outbound link
  before = t;
  await page.evaluate(() => addEventListener('click', (e) => e.preventDefault(), { once: true })); // stay here
  await page.getByRole('link', { name: 'a page somewhere else' }).click();
  t = await totalWhen((t) => t.stored > before.stored);
  await v.sees(() => v.of('outbound_click').length);
  check(v.of('outbound_click')[0]?.target_url === 'https://example.org/paper', 'an outbound click names its target', v.of('outbound_click'));
  check(t.stored === before.stored + 1, 'the outbound click is stored', t.stored - before.stored);

  // Navigation without a load
  await page.goto(`${PUBLIC}/demo/products`);
  await v.sees(() => v.of('page_view').some((h) => h.page_url === `${PUBLIC}/demo/products`));
  await sleep(500);
  before = await total();
  const seen = v.of('page_view').length;
  await page.getByRole('link', { name: /Winter ink/ }).click();
  await v.sees(() => v.of('page_view').length > seen);
  const inPlace = v.of('page_view').at(-1);
  check(inPlace.page_url === `${PUBLIC}/demo/products?item=winter-ink` && inPlace.referrer_url === `${PUBLIC}/demo/products` &&
    /^Winter ink/.test(inPlace.page_title), 'single-page navigation: address, referrer and title are right', inPlace);
  t = await totalWhen((t) => t.stored >= before.stored + 2);
  check(t.stored === before.stored + 2, 'single-page navigation: engagement and page_view are stored', t.stored - before.stored);
  await page.goBack();
  await v.sees(() => v.of('page_view').length > seen + 1);
  check(v.of('page_view').at(-1).page_url === `${PUBLIC}/demo/products`, 'back is a page view too', v.of('page_view').at(-1).page_url);
  await page.evaluate(() => history.replaceState({ n: 1 }, '', '#fragment'));
  await sleep(300);
  check(v.of('page_view').length === seen + 2, 'a change of the fragment alone is none', v.of('page_view').length - seen);

  // Buttons
  await page.goto(`${PUBLIC}/demo/products?item=winter-ink`);
  await v.sees(() => v.of('page_view').length > seen + 2);
  await sleep(500);
  before = await total();
  await page.getByRole('button', { name: 'Add to basket' }).click();
  t = await totalWhen((t) => t.stored >= before.stored + 2);
  check(t.stored === before.stored + 2, 'a button: click and the shop\'s own event are stored', t.stored - before.stored);
  check(v.of('click').at(-1)?.element === 'button:add-to-basket', 'a button is named by data-cp', v.of('click').at(-1)?.element);
  check(v.of('add_to_basket')[0]?.properties?.item === 'winter-ink', 'the shop\'s own event has its properties', v.of('add_to_basket')[0]?.properties);

  check(balanced(t), 'the ledger balances', t);

  // The dashboard
  const board = await v.context.newPage();
  const answer = await board.goto(`${ADMIN}/`);
  await sleep(2500);
  check(answer.ok(), 'the dashboard opens', answer.status());
  if (shots) await board.screenshot({ path: join(shots, '3-dashboard.png'), fullPage: true });
  await board.close();

  // Opt out
  await page.bringToFront();
  await page.getByRole('button', { name: 'Opt out for good' }).click();
  await page.waitForFunction(() => document.documentElement.dataset.choice === 'opted_out');
  check(!await v.cookie(ID), 'opt-out: the id cookie is gone');
  check(Boolean(await v.cookie('__Host-cp_optout.demo')), 'opt-out: its own cookie is set');
  await sleep(1500);
  before = await total();
  await page.goto(`${PUBLIC}/demo/about`);
  await page.getByRole('button', { name: 'Ring the bell' }).click();
  await page.goto(`${PUBLIC}/`);
  t = await totalWhen((t) => (t.refused.opted_out ?? 0) >= (before.refused.opted_out ?? 0) + 3);
  check(t.stored === before.stored, 'opt-out: nothing more is stored', t.stored - before.stored);
  check((t.refused.opted_out ?? 0) > (before.refused.opted_out ?? 0), 'the ledger says opted_out', t.refused);
  check(!await v.cookie(ID), 'opt-out: no id cookie comes back');
  await v.shot('4-opted-out');

  check(v.errors.length === 0, 'no error and no breach of the content policy in any page', v.errors);
  await v.context.close();
});

// 2. Refusing --------------------------------------------------------------------------------------
await story('refusing', async () => {
  const v = await visitor();
  await v.page.goto(`${PUBLIC}/`);
  await v.sees(() => v.of('page_view').length);
  const before = await total();
  await v.page.keyboard.press('Tab'); // the skip link
  await v.page.keyboard.press('Tab'); // all your choices
  await v.page.keyboard.press('Tab');
  check(await v.page.evaluate(() => document.activeElement.textContent) === 'Refuse', 'the banner is reached by the keyboard');
  await v.page.keyboard.press('Enter');
  await v.page.waitForFunction(() => document.documentElement.dataset.choice === 'denied');
  await v.page.goto(`${PUBLIC}/demo/about`);
  check(await v.page.evaluate(() => document.documentElement.dataset.choice) === 'denied', 'the refusal is remembered on the next page');
  await v.page.getByRole('button', { name: 'Ring the bell' }).click();
  await sleep(1000);
  const t = await total();
  check(t.stored === before.stored && !await v.cookie(ID), 'Refuse: nothing is stored, no id cookie', t.stored - before.stored);
  await v.context.close();
});

// 3. Without scripts: the banner is a plain form ----------------------------------------------------
await story('without scripts', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  await page.goto(`${PUBLIC}/demo/about`);
  await page.locator('.banner button[value=granted]').click();
  await page.waitForURL('**/demo/about');
  check(await page.locator('html').getAttribute('data-choice') === 'granted', 'without scripts the banner works and comes back to the page');
  await context.close();
});

// 4. The tag alone, its messages caught before they reach the collector -----------------------------
/** A page of the test's own, with the tag in it; `answer` says what the collector would reply. */
const bare = async (attributes, body, script, answer = () => ({ status: 204 })) => {
  const v = await visitor(script);
  await v.context.route(`${PUBLIC}/bare*`, (route) => route.fulfill({
    contentType: 'text/html',
    headers: { 'content-security-policy': `default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'` },
    body: `<!doctype html><html lang="en"><title>Bare</title>${route.request().url().endsWith('?without') ? '' : `<script async src="/tag.js" data-site="demo" ${attributes}></script>`}${body}`,
  }));
  let calls = 0;
  await v.context.route(`${PUBLIC}/e`, (route) => route.fulfill(answer(++calls)));
  await v.page.goto(`${PUBLIC}/bare?a=1#part`);
  await v.page.waitForLoadState('load');
  await sleep(200);
  return v;
};

await story('the tag: signals', async () => {
  let v = await bare('', '<button>x</button>', () => { Object.defineProperty(Navigator.prototype, 'doNotTrack', { get: () => '1' }); });
  await v.page.getByRole('button').click();
  await sleep(300);
  check(v.sent.length === 0, 'Do Not Track: nothing is sent', v.sent);
  await v.context.close();

  v = await bare('data-child', '<button>x</button>');
  await v.page.getByRole('button').click();
  await sleep(300);
  check(v.sent.length === 0, 'data-child: nothing is sent', v.sent);
  await v.context.close();

  v = await bare('data-consent="granted" data-anonymous', '', () => { Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true }); });
  check(v.of('page_view').length === 1 && v.sent[0].consent === 'granted' && v.sent[0].anonymous === true && v.sent[0].page_url === `${PUBLIC}/bare?a=1`,
    'data-consent and data-anonymous are passed on, the fragment is not, GPC is left to its header', v.sent);
  await v.context.close();

  v = await bare('', '', () => {
    window.__tcfapi = (command, version, f) => { window.tcf = f; };
    window.__gpp = (command, f) => f({ pingData: { signalStatus: 'ready', gppString: 'DBAA', applicableSections: [2, 7] } }, true);
  });
  await v.page.evaluate(() => window.tcf({ eventStatus: 'cmpuishown', gdprApplies: true, tcString: 'OLD' }, true));
  await v.page.evaluate(() => window.tcf({ eventStatus: 'useractioncomplete', gdprApplies: true, tcString: 'CPx' }, true));
  await v.sees(() => v.sent.length > 1);
  check(v.sent.length === 2 && v.sent[0].gpp === 'DBAA' && v.sent[0].gpp_sid === '2,7' && v.sent[0].gdpr_consent === undefined &&
    v.sent[1].gdpr === '1' && v.sent[1].gdpr_consent === 'CPx' && v.sent[0].event_id === v.sent[1].event_id, 'TCF and GPP strings are passed on, a choice sends the page view again', v.sent);
  await v.context.close();
});

await story('the tag: sending', async () => {
  let v = await bare('', '', undefined, (n) => ({ status: n === 1 ? 503 : 204 }));
  await v.sees(() => v.sent.length > 1);
  await sleep(2500);
  check(v.sent.length === 2 && v.sent[0].event_id === v.sent[1].event_id, '503: the page view is sent once more, with the same id', v.sent.length);
  const names = await v.page.evaluate(() => Object.getOwnPropertyNames(window));
  await v.page.goto(`${PUBLIC}/bare?without`);
  const usual = new Set(await v.page.evaluate(() => Object.getOwnPropertyNames(window)));
  const ours = names.filter((k) => !usual.has(k));
  check(ours.join() === 'clearpixel', 'one global, no other', ours);
  await v.context.close();

  v = await visitor();
  const got = [];
  await v.context.route(`${PUBLIC}/bare`, (route) => route.fulfill({
    contentType: 'text/html',
    headers: { 'content-security-policy': `default-src 'none'; script-src 'self'; connect-src 'none'; img-src 'self'` },
    body: '<!doctype html><html lang="en"><title>Bare</title><script async src="/tag.js" data-site="demo"></script>',
  }));
  await v.context.route(`${PUBLIC}/p.gif*`, (route) => { got.push(new URL(route.request().url()).searchParams); route.fulfill({ status: 200 }); });
  await v.page.goto(`${PUBLIC}/bare`);
  await v.sees(() => got.length);
  check(got.length === 1 && got[0].get('site') === 'demo' && got[0].get('event') === 'page_view' && got[0].get('page_url') === `${PUBLIC}/bare` && /^[0-9a-f]{32}$/.test(got[0].get('event_id')),
    'where a page bars fetch, the image goes instead', got.map(String));
  await v.context.close();

  v = await bare('', '<button>Go</button>', () => {
    window.clearpixel = function () { (window.clearpixel.q = window.clearpixel.q || []).push(arguments); };
    window.clearpixel('event', 'early', { n: 1, yes: true });
    window.clearpixel('consent', 'granted');
  });
  check(v.sent.map((h) => `${h.event} ${h.consent}`).join() === 'page_view granted,early granted', 'calls made before the tag has loaded are kept', v.sent);
  await v.page.evaluate(() => {
    window.clearpixel('event', { event: 'bought', properties: { sum: 3 } });
    window.clearpixel('page');
    window.clearpixel('event');
    window.clearpixel('nonsense', Symbol('x'));
    window.clearpixel('event', 'odd', { self: window }); // cannot be JSON
  });
  await v.sees(() => v.of('page_view').length > 1);
  check(v.of('bought')[0]?.properties.sum === 3 && v.of('page_view').length === 2 && v.errors.length === 0, 'calls in both forms; nonsense throws nothing', v.errors);
  await v.page.evaluate(() => window.clearpixel('consent', 'denied'));
  const count = v.sent.length;
  await v.page.getByRole('button').click();
  await sleep(300);
  check(v.sent.length === count, 'after a denial no clicks are sent', v.sent.slice(count));
  let optedOut = 0;
  await v.context.route(`${PUBLIC}/optout?s=demo`, (route) => { optedOut += 1; route.fulfill({ status: 204 }); });
  await v.page.evaluate(() => { window.clearpixel('optout'); window.clearpixel('event', 'late'); window.clearpixel('page'); });
  await v.sees(() => optedOut);
  await sleep(300);
  check(optedOut === 1 && v.sent.length === count, 'optout is told to the collector, and the tag falls silent', [optedOut, v.sent.length - count]);
  await v.context.close();
});

await story('the tag: elements', async () => {
  const v = await bare('', `
    <main><button id="x17-9f3a2b">Call 0171 5550 jane@example.com <b>now</b></button>
    <input type="submit" value="Jane's secret" name="q"><div role="button" tabindex="0">Open<textarea>private</textarea></div>
    <button id="save-all">Save</button><p data-cp-off><button id="hidden-one">Hidden</button></p>
    <a id="file" href="/files/list.pdf?v=2#p3">list</a><a id="mail" href="mailto:jane@example.com">mail</a></main>`);
  await v.page.evaluate(() => {
    addEventListener('click', (e) => e.preventDefault());
    for (const el of document.querySelectorAll('button,input,[role=button],a')) el.click();
  });
  await v.sees(() => v.of('download').length && v.of('click').length >= 4);
  const names = v.of('click').map((h) => h.element);
  check(names.join('|') === 'button Call now|input|div|button#save-all', 'elements are named without ids made by machines, digits, addresses or values', names);
  check(v.of('download')[0]?.target_url === `${PUBLIC}/files/list.pdf?v=2`, 'a file is a download', v.of('download'));
  check(!JSON.stringify(v.sent).includes('jane@') && !JSON.stringify(v.sent).includes('secret'), 'an e-mail address or a typed value never leaves the page');
  await v.context.close();
});

await story('the tag: time', async () => {
  // The page's clock is the test's: 10 s of reading, 60 s of nothing, 5 s more.
  const v = await visitor();
  await v.context.route(`${PUBLIC}/bare`, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><html lang="en"><title>Bare</title><p>text<script async src="/tag.js" data-site="demo"></script>' }));
  await v.context.route(`${PUBLIC}/e`, (route) => route.fulfill({ status: 204 }));
  await v.page.clock.install();
  await v.page.goto(`${PUBLIC}/bare`);
  await v.sees(() => v.of('page_view').length);
  const move = (x) => v.page.mouse.move(x, 100);
  await move(10);
  for (let i = 0; i < 10; i += 1) { await v.page.clock.fastForward(1000); await move(20 + i); }
  await v.page.clock.fastForward(60_000);
  await move(50);
  await v.page.clock.fastForward(5000);
  await v.page.evaluate(() => history.pushState(null, '', '?next'));
  await v.sees(() => v.of('engagement').length);
  const ms = v.of('engagement')[0]?.engaged_ms; // 10 s + the 30 s after the last sign of life + 5 s
  check(ms >= 45_000 && ms < 48_000, 'engaged time: idle time past 30 s does not count', ms);
  await v.page.clock.fastForward(1000);
  await v.page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await v.sees(() => v.of('engagement').length >= 2);
  await v.page.clock.fastForward(20_000);
  await v.page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => 'visible' });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await v.page.clock.fastForward(2000);
  await v.page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide')));
  await v.sees(() => v.of('engagement').length >= 3);
  const later = v.of('engagement')[2]?.engaged_ms;
  check(later >= 2000 && later < 4000, 'engaged time: hidden time does not count, reports are differences', later);
  await v.context.close();
});

await story('the pages', async () => {
  const styles = new Set();
  for (const path of ['/', '/demo/products', '/demo/journal', '/demo/about']) {
    const text = await (await fetch(PUBLIC + path, { signal: AbortSignal.timeout(5000) })).text();
    styles.add(text.match(/<style>[^]*<\/style>/)?.[0]);
    check(!text.includes('{{'), `${path} has every placeholder filled in`, text.match(/\{\{\w+/)?.[0]);
  }
  check(styles.size === 1, 'the four pages have one style');
});

inTime();
await browser.close();
finish();
