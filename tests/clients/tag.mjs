/**
 * The tag in a real Chromium, in the places where tags go wrong: pages that come back from the cache, go at
 * once, are rendered ahead, stand on another origin or under a strict policy; and its clock against the truth.
 *   node tag.mjs PUBLIC_URL ADMIN_URL BINARY SETTINGS
 * Prints one line a check, then `N passed, N failed`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { UNITED_STATES, check, stage, until, verdict } from './stage.mjs';

const set = await stage(process.argv.slice(2));
const { state } = set;
state.from = UNITED_STATES; // no consent is asked: what is sent is kept
let at = 0;
/** A page that nobody else has, with the tag. */
const lay = (more = '', tag = `<script async src="/tag.js" data-site="tag" ${more}></script>`, body = '') => {
  at += 1;
  const path = `/page-${at}.html`;
  state.pages.set(path, { body: `<!doctype html><title>page ${at}</title>${tag}<body style="height:3000px">${body}<a id="next" href="/plain.html">next</a>` });
  return path;
};
state.pages.set('/plain.html', { body: '<!doctype html><title>plain</title><p>nothing here' });
const rowsOf = (path) => set.rows(`select event, page_url, referrer_url, engaged_ms, scroll_percent, may_share, visitor_id, target_url, element from interactions where site = 'tag' and page_path = '${path}' order by received_at`);
const rows = (path, wanted) => until(() => rowsOf(path), (found) => found.length >= wanted);
/** The views of a page, when there are so many. */
const views = async (path, wanted) => (await until(() => rowsOf(path), (found) => found.filter((row) => row.event === 'page_view').length >= wanted)).filter((row) => row.event === 'page_view');
const events = (found) => found.map((row) => row.event).join();

const browser = await set.browser();
const visit = async (f, options = {}) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  try { await f(page, errors); } catch (error) { check(false, String(error.stack)); }
  await context.close();
};
const ready = (page) => page.waitForFunction(() => Boolean(window.clearpixel && window.clearpixel.site));

await visit(async (page) => {
  const path = lay();
  await page.addInitScript(() => addEventListener('pageshow', (e) => { if (e.persisted) document.title = 'from the cache'; }));
  await page.goto(set.url + path);
  await ready(page);
  await page.goto(`${set.url}/plain.html`);
  // A page that comes back whole has no load to wait for.
  await page.goBack({ waitUntil: 'commit' }).catch(() => {});
  const found = await views(path, 2);
  check(found.length === 2, 'a page that comes back by the back button is a view again', found);
  check(await page.title() === 'from the cache', 'and it came from the back-forward cache', await page.title());
});

await visit(async (page) => {
  const path = lay();
  const sent = page.waitForEvent('request', (request) => request.url().endsWith('/e'));
  await page.goto(set.url + path, { waitUntil: 'commit' });
  await sent;
  await page.close();
  check(events(await rows(path, 1)).startsWith('page_view'), 'a tab that is closed at once has been seen');
});

await visit(async (page) => {
  // Three events at once, before any answer could bring an id.
  const path = lay('', '<script>window.clearpixel = function () { (window.clearpixel.q = window.clearpixel.q || []).push(arguments) }; clearpixel("event", "one"); clearpixel("event", "two")</script><script async src="/tag.js" data-site="tag"></script>');
  await page.goto(set.url + path);
  await ready(page);
  const found = await rows(path, 3);
  check(events(found) === 'page_view,one,two' && new Set(found.map((row) => row.visitor_id)).size === 1 && found[0].visitor_id, 'events at once are one visitor\'s', found);
});

await visit(async (page) => {
  const path = lay('data-hash');
  await page.goto(set.url + path);
  await ready(page);
  await page.evaluate(() => { location.hash = '#/two'; });
  const found = await views(path, 2);
  check(found.length === 2, 'data-hash: another fragment is another page', found);
});

await visit(async (page, errors) => {
  const path = lay('', `<script async src="${set.url}/tag.js" data-site="tag"></script>`);
  await page.goto(set.other + path);
  await ready(page);
  const [row] = await rows(path, 1);
  check(row?.page_url === `${set.other}${path}` && errors.length === 0, 'a page on another origin than the collector', [row, errors]);
});

await visit(async (page, errors) => {
  const path = lay('', '<script async src="/tag.js" data-site="tag"></script>');
  state.policy = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'";
  await page.goto(set.url + path);
  await ready(page);
  check(events(await rows(path, 1)).startsWith('page_view') && errors.length === 0, 'under a strict policy that names the collector, with trusted types', errors);
  const barred = lay();
  state.policy = "default-src 'none'; style-src 'unsafe-inline'";
  await page.goto(set.url + barred);
  await sleep(300);
  check(await page.title() !== '' && errors.length === 0 && rowsOf(barred).length === 0, 'a policy that bars the tag bars it without an error', errors);
  state.policy = undefined;
});

await visit(async (page) => {
  const source = await (await fetch(`${set.url}/tag.js`)).text();
  const digest = Buffer.from(await crypto.subtle.digest('SHA-384', new TextEncoder().encode(source)));
  const address = `/tag.${digest.toString('hex').slice(0, 12)}.js`;
  const right = lay('', `<script async src="${set.url}${address}" integrity="sha384-${digest.toString('base64')}" crossorigin="anonymous" data-site="tag"></script>`);
  await page.goto(set.other + right);
  await ready(page);
  check(events(await rows(right, 1)).startsWith('page_view'), 'by its version, under subresource integrity, from another origin');
});

await visit(async (page) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true }));
  const path = lay();
  await page.goto(set.url + path);
  const [row] = await rows(path, 1);
  check(row?.may_share === false, 'Global Privacy Control found by the script bars the row from sharing', row);
});

await visit(async (page) => {
  const path = lay();
  const from = lay('', '', `<script type="speculationrules">{"prerender":[{"source":"list","urls":["${path}"]}]}</script>`);
  const before = state.calls.filter((call) => call.path === '/e').length;
  await page.goto(set.url + from);
  await sleep(1_500);
  const during = state.calls.filter((call) => call.path === '/e').length - before;
  await page.evaluate((to) => { location.href = to; }, path);
  const found = await rows(path, 1);
  check(during === 0 && found.filter((row) => row.event === 'page_view').length === 1, 'rendered ahead: nothing before it is looked at, one view after', [during, found]);
});

await visit(async (page, errors) => {
  const path = lay();
  state.delay = 4_000;
  await page.goto(set.url + path, { waitUntil: 'commit' });
  await page.waitForLoadState('domcontentloaded');
  const loaded = await page.evaluate(() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd);
  check(loaded < 3_500 && errors.length === 0, 'a slow collector does not hold the page', loaded);
  await ready(page);
  state.delay = 0;
  check(events(await rows(path, 1)).startsWith('page_view'), 'and the view is kept');
});

await visit(async (page) => {
  const path = lay();
  // The truth, by the page's own clock: always active, from the sending of the view to the leaving.
  await page.addInitScript(() => {
    const own = window.fetch;
    window.fetch = function () {
      if (sessionStorage.began === undefined) sessionStorage.began = performance.now();
      return own.apply(this, arguments);
    };
    addEventListener('pagehide', () => { if (sessionStorage.ended === undefined) sessionStorage.ended = performance.now(); });
  });
  await page.goto(set.url + path);
  await ready(page);
  for (let i = 0; i < 40; i += 1) {
    await page.mouse.move(10 + i, 10);
    await sleep(200);
  }
  await page.goto(`${set.url}/plain.html`);
  const truth = await page.evaluate(() => sessionStorage.ended - sessionStorage.began);
  const found = (await until(() => rowsOf(path), (all) => all.some((row) => row.event === 'engagement'))).filter((row) => row.event === 'engagement');
  const told = found.reduce((sum, row) => sum + row.engaged_ms, 0);
  check(Math.abs(told - truth) <= truth * 0.05, `engaged time within 5 %: ${told} ms told, ${Math.round(truth)} ms true`, [told, truth]);
  check(found.some((row) => row.scroll_percent > 0), 'and how far it was scrolled', found);
});

await browser.close();
set.close();
verdict();
