/**
 * The browser test of a collector embedded by others: the choices page (all languages, both colour schemes,
 * keyboard, narrow windows), the tag and the pixel on pages of other sites, partitioned cookies, opting out,
 * withdrawing, clearing cookies, Global Privacy Control, with third-party cookies allowed and blocked.
 *   node sites.mjs PUBLIC_URL ADMIN_URL BINARY DIR [SCREENSHOT_DIR]
 * It needs a running `BINARY serve` with TLS and the settings that `run` writes to DIR/sites.toml, and serves
 * the clients' pages itself, with DIR/cert.pem. A load balancer of the test's own stands before the collector
 * and says where visitors come from: the United States, or nowhere known, where the strictest rules apply.
 * (A header that the browser is told to add would ask for a CORS preflight of its own.)
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { check, finish, ledger, settings, story, within } from './checks.mjs';

const [publicUrl, adminUrl, binary, dir, shots] = process.argv.slice(2);
if (!dir) {
  console.error('usage: node sites.mjs PUBLIC_URL ADMIN_URL BINARY DIR [SCREENSHOT_DIR]');
  process.exit(2);
}
if (shots) mkdirSync(shots, { recursive: true });
const ADMIN = adminUrl.replace(/\/$/, '');
const UNITED_STATES = '8.8.8.8';
const LANGUAGES = ['en', 'de', 'fr', 'es', 'it', 'pt', 'nl', 'pl'];
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const tls = { key: readFileSync(join(dir, 'key.pem')), cert: readFileSync(join(dir, 'cert.pem')) };
const opened = (server) => new Promise((ready) => { server.listen(0, '127.0.0.1', () => ready(server.address().port)); });

// The load balancer: visitors come from `address`, one after the other.
let address = UNITED_STATES;
const balancer = createServer(tls, (request, answer) => {
  const headers = { ...request.headers, ...(address && { 'x-forwarded-for': address }) };
  const forward = httpsRequest({ host: '127.0.0.1', port: new URL(publicUrl).port, method: request.method, path: request.url, headers, rejectUnauthorized: false }, (reply) => {
    answer.writeHead(reply.statusCode, reply.rawHeaders);
    reply.pipe(answer);
  });
  forward.on('error', () => answer.destroy());
  request.pipe(forward);
});
const COLLECTOR = `https://collector.test:${await opened(balancer)}`;

// The clients' pages: /tagged?site&consent has the tag, /image?site&id an image alone, /plain nothing.
const shop = createServer(tls, (request, answer) => {
  const url = new URL(request.url, 'https://shop.test');
  const get = (name) => url.searchParams.get(name) ?? '';
  const consent = get('consent') && ` data-consent="${get('consent')}"`;
  const body = {
    '/tagged': `<script async src="${COLLECTOR}/tag.js" data-site="${get('site')}"${consent}></script>`,
    '/image': `<img alt="" src="${COLLECTOR}/p.gif?s=${get('site')}&amp;id=${get('id')}&amp;e=${get('id')}">`,
    '/linked': `<a href="${COLLECTOR}/optout?s=acme">Opt out</a>`,
  }[url.pathname] ?? '';
  answer.writeHead(200, { 'content-type': 'text/html' });
  answer.end(`<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>A page</title><p>text</p>${body}`);
});
const shopPort = await opened(shop);
const SHOP = `https://shop.test:${shopPort}`, NEWS = `https://news.test:${shopPort}`;

const browser = settings(['collector.test', 'shop.test', 'news.test'].map((host) => `MAP ${host} 127.0.0.1`));
// What Chromium calls incognito, and blocks third-party cookies in.
const incognito = await chromium.launch(browser);
const inTime = within(220);

/** A fresh profile that allows third-party cookies. */
const profile = () => {
  const folder = mkdtempSync(join(dir, 'profile-'));
  mkdirSync(join(folder, 'Default'));
  writeFileSync(join(folder, 'Default', 'Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }));
  return folder;
};

/** A visitor of their own, and what the collector answered them. */
const visitor = async ({ from = UNITED_STATES, blocks = false, ...more } = {}) => {
  address = from;
  const options = { ignoreHTTPSErrors: true, viewport: { width: 1100, height: 900 }, ...more };
  const context = blocks ? await incognito.newContext(options) : await chromium.launchPersistentContext(profile(), { ...browser, ...options });
  context.setDefaultTimeout(10_000);
  const answers = [], errors = [];
  context.on('response', (response) => { if (response.url().startsWith(COLLECTOR)) answers.push(response); });
  context.on('weberror', (e) => errors.push(String(e.error())));
  const page = context.pages()[0] ?? await context.newPage();
  /** Opens a client's page and waits until the collector has answered `path` for it. */
  const visit = async (url, path = '/e') => {
    const [answer] = await Promise.all([page.waitForResponse((r) => new URL(r.url()).pathname === path), page.goto(url)]);
    return answer;
  };
  /** Cookies of the collector by name; `site` those of one top-level site, '' those of none. */
  const cookies = async (name, site) => (await context.cookies()).filter((c) => c.domain === 'collector.test' && c.name === name &&
    (site === undefined || (c.partitionKey ?? '') === site));
  return { context, page, answers, errors, visit, cookies };
};
const setCookies = async (answer) => (await answer.headersArray()).filter((h) => h.name.toLowerCase() === 'set-cookie').map((h) => h.value);
const state = (page) => page.getByRole('status').locator('.state').innerText();
const ID = '__Host-cp_id.acme', OUT = '__Host-cp_optout.acme', OUT_ALL = '__Host-cp_optout';
const acme = ledger(ADMIN, 'acme');

/** Rows of the lake, once as many are there as there should be. */
const rows = async (where, count) => {
  let found = [];
  for (let i = 0; i < 20; i += 1) {
    const lines = execFileSync(binary, ['query', `SELECT event, event_id, visitor_id, may_share, regime, legal_basis, page_host, country FROM interactions WHERE ${where} ORDER BY received_at`,
      '--format', 'ndjson', '--config', join(dir, 'sites.toml')], { encoding: 'utf8' });
    found = lines.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    if (found.length >= count) break;
    await sleep(500);
  }
  return found;
};

// 1. The choices page itself -----------------------------------------------------------------------
await story('accessibility', async () => {
  const faults = async (page) => {
    await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    const looked = passes.some((rule) => rule.id === 'color-contrast') && passes.some((rule) => rule.id === 'target-size');
    return looked ? violations.map((v) => `${v.id}: ${v.nodes[0].html}`) : ['contrast and target size were not looked at'];
  };
  for (const colorScheme of ['light', 'dark']) {
    const { context, page } = await visitor({ colorScheme });
    for (const lang of LANGUAGES) {
      await page.goto(`${COLLECTOR}/choices?s=acme&lang=${lang}&set=granted`);
      const seen = await faults(page);
      check(seen.length === 0 && await page.locator('html').getAttribute('lang') === lang, `axe-core finds no fault in ${lang}, ${colorScheme}`, seen);
    }
    for (const [name, path] of [['all sites', '/choices?set=opted_out'], ['opted out', '/optout?s=acme'], ['a daily number', '/choices?s=daily&lang=de']]) {
      await page.goto(COLLECTOR + path);
      const seen = await faults(page);
      check(seen.length === 0, `axe-core finds no fault: ${name}, ${colorScheme}`, seen);
    }
    if (shots) {
      await context.clearCookies();
      await page.goto(`${COLLECTOR}/choices?s=acme`);
      await page.screenshot({ path: join(shots, `choices-${colorScheme}.png`) });
    }
    await context.close();
  }
});

await story('languages, narrow windows and the keyboard', async () => {
  const german = await visitor({ locale: 'de-AT' });
  await german.page.goto(`${COLLECTOR}/choices?s=acme`);
  check(await german.page.locator('html').getAttribute('lang') === 'de', 'the page is in the browser\'s language');
  await german.page.getByRole('link', { name: 'Polski' }).click();
  await german.page.getByRole('button', { name: 'Odmawiam' }).click();
  check(await german.page.locator('html').getAttribute('lang') === 'pl' && /Odmówili Państwo/.test(await state(german.page)), 'a language chosen by hand stays through a choice');
  await german.context.close();

  const { context, page } = await visitor({ viewport: { width: 320, height: 640 } });
  const wide = [];
  for (const lang of LANGUAGES) {
    await page.goto(`${COLLECTOR}/choices?s=acme&lang=${lang}`);
    if (await page.evaluate(() => document.documentElement.scrollWidth > 320)) wide.push(lang);
    if (shots && lang === 'de') await page.screenshot({ path: join(shots, 'choices-320.png') });
  }
  check(wide.length === 0, 'at 320 px nothing has to be scrolled sideways', wide);

  await page.goto(`${COLLECTOR}/choices?s=acme&lang=en`);
  const controls = await page.locator('a[href], button').evaluateAll((all) => all.map((e) => e.textContent));
  const reached = [];
  for (const _ of controls) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 ? document.activeElement.textContent : 'no visible focus';
    }));
  }
  check(controls.length > 12 && reached.join() === controls.join(), 'every control is reached by Tab, in order, with a visible focus', reached);
  const press = async (name) => {
    await page.getByRole('button', { name, exact: true }).focus();
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
    return `${await page.locator('.saved').count()} ${await state(page)}`;
  };
  for (const [name, said] of [['Agree', '1 You agreed'], ['Withdraw consent', '1 You refused'], ['Agree', '1 You agreed'], ['Opt out', '1 You opted out. '],
    ['Take the opt-out back', '1 You have not made a choice'], ['Opt out of every site', '1 '], ['Take the opt-out back', '1 ']]) {
    const seen = await press(name);
    check(seen.startsWith(said), `by the keyboard: ${name}`, seen);
  }
  await context.close();
});

await story('without scripts, without cookies', async () => {
  const { context, page, cookies } = await visitor({ javaScriptEnabled: false });
  const first = await page.goto(`${COLLECTOR}/choices?s=acme`);
  check((await setCookies(first)).length === 0 && /You have not made a choice/.test(await state(page)), 'a first look sets no cookie');
  const looks = await page.locator('.forms').first().getByRole('button').evaluateAll((all) => all.map((b) => {
    const s = getComputedStyle(b);
    return [s.color, s.backgroundColor, s.borderColor, s.fontSize, s.fontWeight, b.getBoundingClientRect().height].join();
  }));
  check(looks.length === 2 && looks[0] === looks[1], 'Agree and Refuse look alike', looks);
  await page.getByRole('button', { name: 'Agree', exact: true }).click();
  check(/You agreed/.test(await state(page)), 'without scripts the form works');
  await page.goto(`${SHOP}/linked`);
  await page.getByRole('link', { name: 'Opt out' }).click();
  check(await page.locator('.saved').count() === 1 && /You opted out/.test(await state(page)), 'a link on a client\'s page opts out and shows that it worked', page.url());
  check((await cookies(OUT)).length === 2, 'the opt-out is kept in both copies', await cookies(OUT));
  await page.reload();
  await page.goto(`${COLLECTOR}/optout?s=acme`);
  check(/You opted out/.test(await state(page)), 'opting out again changes nothing');
  await context.clearCookies();
  await page.goto(page.url());
  check(await page.locator('.unsaved').count() === 1 && /You have not made a choice/.test(await state(page)), 'a browser that kept no cookie is told so');
  await context.close();
});

await story('a form on another origin', async () => {
  const { context, page, cookies } = await visitor();
  await page.goto(`${COLLECTOR}/optout?s=acme`);
  const token = await page.locator('input[name=token]').first().inputValue();
  for (const path of ['/optin', '/consent']) {
    await page.goto(`${SHOP}/plain`);
    const [answer] = await Promise.all([
      page.waitForNavigation(),
      page.evaluate(([action, token]) => {
        const form = Object.assign(document.createElement('form'), { method: 'post', action });
        for (const [name, value] of [['s', 'acme'], ['choice', 'granted'], ['token', token]]) form.append(Object.assign(document.createElement('input'), { name, value }));
        document.body.append(form);
        form.submit();
      }, [COLLECTOR + path, token]),
    ]);
    check(answer.status() === 403 && (await setCookies(answer)).length === 0, `${path} from another origin is refused, with a good token too`, answer.status());
  }
  check((await cookies(OUT)).length === 2, 'and the opt-out stands');
  await context.close();
});

// 2. Embedded by others ----------------------------------------------------------------------------
let firstIds;
await story('third-party embedding', async () => {
  const v = await visitor();
  const before = await acme.total();
  const answer = await v.visit(`${SHOP}/tagged?site=acme`);
  check(answer.status() === 204 && await answer.headerValue('access-control-allow-origin') === SHOP &&
    await answer.headerValue('access-control-allow-credentials') === 'true', 'POST /e lets the embedding page read its answer', await answer.allHeaders());
  const read = await v.page.evaluate((url) => fetch(url, { method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json' }, body: '{"site":"acme","event":"asked","event_id":"shop-asked"}' })
    .then((r) => [r.status, r.type]), `${COLLECTOR}/e`);
  check(read.join() === '204,cors', 'and so does one with a preflight', read);
  await v.visit(`${SHOP}/image?site=acme&id=shop-image`, '/p.gif');
  await v.visit(`${NEWS}/image?site=acme&id=news-image`, '/p.gif');
  await v.visit(`${NEWS}/tagged?site=acme`);

  const ids = await v.cookies(ID);
  check(ids.length === 2 && new Set(ids.map((c) => c.value)).size === 2 && ids.every((c) => c.httpOnly && c.secure && c.sameSite === 'None') &&
    ids.map((c) => c.partitionKey).sort().join() === 'https://news.test,https://shop.test', 'the id lies in each site\'s partition, another in each, and nowhere else', ids.map((c) => c.partitionKey));
  firstIds = ids.map((c) => c.value.slice(0, 32));
  const t = await acme.totalWhen((t) => t.stored >= before.stored + 5);
  check(t.stored >= before.stored + 5 && t.refused.wrong_origin === undefined, 'tag and pixel are stored', t);
  const kept = await rows(`page_host IN ('shop.test', 'news.test') OR event_id = 'shop-asked'`, 5);
  const of = (host) => new Set(kept.filter((r) => r.page_host === host).map((r) => r.visitor_id));
  check(of('shop.test').size === 1 && of('news.test').size === 1 && [...of('shop.test')][0] !== [...of('news.test')][0], 'rows: one visitor a site, and nobody is followed from one to the other', kept);
  check(kept.every((r) => r.may_share && r.regime === 'opt-out' && r.legal_basis === 'opt-out-regime' && r.country === 'US'), 'rows: regime, basis and country', kept[0]);

  // Opting out where one stands
  await v.visit(`${SHOP}/tagged?site=acme`);
  await Promise.all([v.page.waitForResponse((r) => new URL(r.url()).pathname === '/optout'), v.page.evaluate(() => globalThis.clearpixel('optout'))]);
  check((await v.cookies(ID, 'https://shop.test')).length === 0 && (await v.cookies(OUT, 'https://shop.test')).length === 1 && (await v.cookies(OUT, '')).length === 1,
    'the tag\'s opt-out: the id goes, the opt-out lies in the partition and outside of it', (await v.context.cookies()).map((c) => [c.name, c.partitionKey]));
  const mark = await acme.total();
  const hit = await v.visit(`${SHOP}/image?site=acme&id=shop-after`, '/p.gif');
  const again = (await setCookies(hit)).filter((line) => line.startsWith(`${OUT}=1; Max-Age=34560000`));
  check(again.length === 2, 'a hit that carries the opt-out sets it again, both copies', await setCookies(hit));
  const elsewhere = await v.visit(`${NEWS}/image?site=acme&id=news-after`, '/p.gif');
  check((await setCookies(elsewhere)).some((line) => line.startsWith(`${ID}=; Max-Age=0`)) && (await v.cookies(ID)).length === 0, 'on the other site too it holds, and takes the id there away', await setCookies(elsewhere));
  const after = await acme.totalWhen((t) => (t.refused.opted_out ?? 0) >= (mark.refused.opted_out ?? 0) + 2);
  check(after.stored === mark.stored && after.refused.opted_out === (mark.refused.opted_out ?? 0) + 2, 'and nothing more is stored', after);

  // Clearing cookies, as the page says
  await v.page.goto(`${COLLECTOR}/choices?s=acme`);
  check(/You opted out/.test(await state(v.page)), 'the choices page knows of it');
  await v.context.clearCookies();
  await v.page.reload();
  check(/You have not made a choice/.test(await state(v.page)) && /clear the cookies, your opt-out is deleted/.test(await v.page.innerText('main')), 'cleared cookies: the opt-out is forgotten, and the page says that it would be');
  await v.visit(`${SHOP}/image?site=acme&id=shop-anew`, '/p.gif');
  const anew = (await v.cookies(ID, 'https://shop.test'))[0]?.value.slice(0, 32);
  check(/^[0-9a-f]{32}$/.test(anew) && !firstIds.includes(anew), 'cleared cookies: a new visitor id', anew);
  check(v.errors.length === 0, 'no error in any page', v.errors);
  await v.context.close();
});

await story('the choices page reaches the clients\' pages', async () => {
  const v = await visitor();
  await v.visit(`${SHOP}/image?site=acme&id=reach-1`, '/p.gif');
  check((await v.cookies(ID, 'https://shop.test')).length === 1, 'before: an id');
  await v.page.goto(`${COLLECTOR}/choices?s=acme`);
  check(/sees no number of yours/.test(await v.page.innerText('main')), 'the page says that it cannot see an id that lies in another site\'s partition');
  await v.page.getByRole('button', { name: 'Opt out of every site' }).click();
  check((await v.cookies(OUT_ALL)).length === 2, 'opted out of every site');
  const before = await acme.total();
  await v.visit(`${SHOP}/image?site=acme&id=reach-2`, '/p.gif');
  await v.visit(`${NEWS}/image?site=strict&id=reach-3`, '/p.gif');
  const after = await acme.totalWhen((t) => (t.refused.opted_out ?? 0) > (before.refused.opted_out ?? 0));
  check(after.stored === before.stored && (await v.cookies(ID)).length === 0 && (await v.cookies('__Host-cp_id.strict')).length === 0, 'where third-party cookies are sent, an opt-out made on the collector\'s page holds on every site', after);
  await v.context.close();
});

await story('consent and its withdrawal where the law asks for consent', async () => {
  const v = await visitor({ from: '' });
  const before = await acme.total();
  await v.visit(`${SHOP}/tagged?site=acme`);
  let t = await acme.totalWhen((t) => (t.refused.no_consent ?? 0) > (before.refused.no_consent ?? 0));
  check(t.stored === before.stored && (await v.context.cookies()).length === 0, 'before a choice: nothing stored, no cookie', t);
  await Promise.all([v.page.waitForResponse((r) => new URL(r.url()).pathname === '/e'), v.page.evaluate(() => globalThis.clearpixel('consent', 'granted'))]);
  t = await acme.totalWhen((t) => t.stored > before.stored);
  check(t.stored === before.stored + 1 && (await v.cookies(ID)).length === 1, 'consent in the client\'s banner: stored, with an id', t);
  await v.visit(`${SHOP}/tagged?site=acme&consent=denied`);
  check((await v.cookies(ID)).length === 0, 'withdrawal: the id is gone');
  const lines = await setCookies(v.answers.filter((r) => new URL(r.url()).pathname === '/e').at(-1));
  check(lines.length === 2 && lines.every((line) => line.startsWith(`${ID}=; Max-Age=0;`)) && lines.filter((line) => line.endsWith('; Partitioned')).length === 1, 'withdrawal deletes the id in both copies', lines);

  // The consent given on the collector's own page
  await v.page.goto(`${COLLECTOR}/choices?s=acme`);
  check(/The strictest rules then apply/.test(await v.page.innerText('main')), 'an unknown place: the page says that the strictest rules apply');
  await v.page.getByRole('button', { name: 'Agree', exact: true }).click();
  await v.visit(`${SHOP}/image?site=acme&id=agreed`, '/p.gif');
  const [row] = await rows(`event_id = 'agreed'`, 1);
  check(row?.legal_basis === 'consent' && row.regime === 'opt-in' && Boolean(row.visitor_id), 'consent on the choices page reaches the client\'s pages', row);

  // An anonymous count, and a site whose number lasts a day
  await v.visit(`${SHOP}/image?site=daily&id=counted`, '/p.gif');
  const [counted] = await rows(`event_id = 'counted'`, 1);
  check(counted?.legal_basis === 'count' && counted.visitor_id == null && (await v.cookies('__Host-cp_id.daily')).length === 0, 'an anonymous count has no visitor and sets no cookie', counted);
  await v.context.close();
});

await story('Global Privacy Control', async () => {
  const v = await visitor({ extraHTTPHeaders: { 'Sec-GPC': '1' } });
  await v.visit(`${SHOP}/image?site=acme&id=gpc-shared`, '/p.gif');
  const [row] = await rows(`event_id = 'gpc-shared'`, 1);
  check(row?.may_share === false && row.legal_basis === 'opt-out-regime', 'GPC: the row may not be shared', row);
  const strict = ledger(ADMIN, 'strict');
  const before = await strict.total();
  await v.visit(`${SHOP}/image?site=strict&id=gpc-refused`, '/p.gif');
  const t = await strict.totalWhen((t) => (t.refused.gpc ?? 0) > (before.refused.gpc ?? 0));
  check(t.stored === before.stored && t.refused.gpc === (before.refused.gpc ?? 0) + 1 && (await v.cookies('__Host-cp_id.strict')).length === 0, 'GPC with gpc = "refuse": nothing kept, no id', t);
  await v.page.goto(`${COLLECTOR}/choices?s=acme`);
  check(/Your opt-out request is honoured/.test(await v.page.innerText('main')), 'GPC: the choices page shows it as honoured');
  await v.page.goto(`${COLLECTOR}/choices?s=strict`);
  check(/Global Privacy Control: nothing about your visits is recorded unless you agree/.test(await v.page.getByRole('status').innerText()), 'GPC: and what it does on this site');
  const support = await v.page.evaluate(() => fetch('/.well-known/gpc.json').then((r) => r.json()));
  check(support.gpc === true && !Number.isNaN(Date.parse(support.lastUpdate)), 'GPC: the support resource', support);
  await v.context.close();
});

await story('one answer for all', async () => {
  const seen = new Set();
  for (const who of [{}, { from: '' }, { extraHTTPHeaders: { DNT: '1' } }]) {
    const v = await visitor(who);
    for (const [site, id] of [['acme', `same-${seen.size}`], ['acme', `same-${seen.size}`], ['nobody', 'x']]) {
      const answer = await v.visit(`${SHOP}/image?site=${site}&id=${id}`, '/p.gif');
      const rest = (await answer.headersArray()).filter((h) => !/^(set-cookie|date)$/i.test(h.name)).map((h) => `${h.name}: ${h.value}`);
      seen.add(JSON.stringify([answer.status(), rest, (await answer.body()).toString('base64')]));
    }
    await v.context.close();
  }
  check(seen.size === 1, 'stored, repeated, refused, DNT and unknown site: the same bytes in the browser', [...seen]);
});

// 3. A browser that blocks third-party cookies -----------------------------------------------------
await story('third-party cookies blocked', async () => {
  const v = await visitor({ blocks: true });
  await v.page.goto(`${COLLECTOR}/optout?s=acme`);
  check(/You opted out/.test(await state(v.page)), 'blocked: the collector\'s own page keeps the opt-out');
  const before = await acme.total();
  const hit = await v.visit(`${SHOP}/image?site=acme&id=blocked-1`, '/p.gif');
  check(!/cp_optout/.test((await hit.request().allHeaders()).cookie ?? ''), 'blocked: it is not sent from a client\'s page, as the page warns');
  let t = await acme.totalWhen((t) => t.stored > before.stored);
  check(t.stored === before.stored + 1 && (await v.cookies(ID, 'https://shop.test')).length === 1, 'blocked: so the visit is stored, its id in the partition', t);
  await v.visit(`${SHOP}/tagged?site=acme`);
  await Promise.all([v.page.waitForResponse((r) => new URL(r.url()).pathname === '/optout'), v.page.evaluate(() => globalThis.clearpixel('optout'))]);
  const mark = await acme.total();
  await v.visit(`${SHOP}/image?site=acme&id=blocked-2`, '/p.gif');
  t = await acme.totalWhen((t) => (t.refused.opted_out ?? 0) > (mark.refused.opted_out ?? 0));
  check(t.stored === mark.stored && t.refused.opted_out === (mark.refused.opted_out ?? 0) + 1 && (await v.cookies(ID, 'https://shop.test')).length === 0, 'blocked: the opt-out on the client\'s own page holds there', t);
  const other = await v.visit(`${NEWS}/image?site=acme&id=blocked-3`, '/p.gif');
  check(!/cp_optout/.test((await other.request().allHeaders()).cookie ?? ''), 'blocked: and only there');
  await v.context.close();
});

inTime();
await incognito.close();
finish();
