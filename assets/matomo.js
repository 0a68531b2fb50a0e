/*! clearpixel, Apache-2.0 */
/**
 * What a page written for Matomo loads from here as `matomo.js`: runs the calls of its `_paq`, and sends them to
 * `matomo.php` beside it. The page, and its snippet, stay as they are.
 * Promises: sets no cookie but the one by which a page asks to remember its visitor's consent, under Matomo's own
 * name, so that what visitors chose before still holds; reads no input's value; never throws into the page or
 * blocks it. Do Not Track: sends nothing; GPC is told. What it does not know it passes over.
 * Held to its types by `tsc`; comments like this one are not sent.
 */
(function (w, d, n) {
  'use strict';

  /** @typedef {Record<string, any>} Fields of one request, as in Matomo's tracking API */

  /** What goes wrong in f stays in f. @param {Function} f @returns {(...args: any[]) => any} */
  const safe = (f) => /** @this {any} */ function () {
    try { return f.apply(this, arguments); } catch (e) { }
  };

  safe(() => {
    if (w.Matomo) return; // loaded twice
    const FILE = /\.(pdf|docx?|xlsx?|pptx?|od[tsp]|csv|txt|epub|mp[34]|mov|wav|zip|t?gz|tar|7z|rar|xz|dmg|pkg|exe|msi|deb|rpm|apk|iso)$/i;
    const PING = 15e3; // ms: what the collector counts a ping as
    const YEARS = 13 * 30 * 24; // hours
    const base = new URL(d.currentScript ? d.currentScript.src : location.href);

    let endpoint = new URL('matomo.php', base).href;
    let site = '', user = '', title = '', url = '', from = d.referrer;
    /** @type {Fields} */
    const dimensions = {};
    /** @type {Record<string, any[]>} */
    const basket = {};
    /** Consent: whether the page asks for it, and whether it was given. */
    let asks = false, given = false;
    let mute = n.doNotTrack === '1';
    /** Requests that wait for consent, at most a page's worth. @type {Fields[]} */
    let waiting = [];
    /** The first answer brings the id: what follows waits for it. @type {Fields[] | null | undefined} */
    let held;

    /** @param {string} name */
    const cookie = (name) => new RegExp('(^|; )' + name + '=[^;]').test(d.cookie);
    /** @param {string} name @param {number} hours none: forgets it */
    const remember = (name, hours) => {
      d.cookie = name + '=' + (hours ? Date.now() : '') + ';path=/;SameSite=Lax;max-age=' + hours * 3600;
    };

    /** @param {Fields} fields @param {boolean} [again] */
    const send = (fields, again) => {
      const body = new URLSearchParams(fields).toString();
      const type = { type: 'application/x-www-form-urlencoded;charset=UTF-8' };
      const later = () => fetch(endpoint, { method: 'POST', body: new Blob([body], type), keepalive: true, credentials: 'include', mode: 'cors' });
      const first = held === undefined;
      if (first) held = [];
      later().then(
        (r) => { if (r.status === 503 && !again) setTimeout(safe(() => send(fields, true)), 1e3 + Math.random() * 1e3); },
        // Where fetch is barred.
        safe(() => { new Image().src = endpoint + '?' + body; })
      ).then(first ? free : null);
    };

    const free = () => {
      const all = held || [];
      held = null;
      all.forEach((fields) => send(fields));
    };

    /** @param {Fields} more @param {boolean} [leaving] the page may be gone in a moment */
    const hit = (more, leaving) => {
      /** @type {Fields} */
      const all = Object.assign({
        idsite: site,
        rec: 1,
        url: url || location.href.split('#')[0],
        urlref: from,
        res: screen.width + 'x' + screen.height,
        uid: user,
        gpc: n.globalPrivacyControl ? 1 : '',
        send_image: 0
      }, dimensions, more);
      const fields = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== '' && value !== undefined && value !== null && value !== false));
      if (mute || cookie('mtm_consent_removed')) return;
      if (asks && !given) { if (waiting.length < 100) waiting.push(fields); return; }
      if (given) fields.consent = 1;
      if (held && !leaving && held.length < 99) held.push(fields);
      else send(fields);
    };

    const consented = () => {
      given = true;
      remember('mtm_consent_removed', 0);
      free();
      held = undefined;
      const all = waiting;
      waiting = [];
      all.forEach((fields) => { fields.consent = 1; if (held) held.push(fields); else send(fields); });
    };

    /** Items as Matomo writes them: sku, name, category, price, quantity. */
    const items = () => JSON.stringify(Object.values(basket));

    /** @param {MouseEvent} e */
    const clicked = (e) => {
      if (e.button > 1) return;
      const at = /** @type {Element} */ (e.composedPath()[0]);
      const link = at.closest && at.closest('a[href],area[href]');
      if (!link) return;
      const to = new URL(link.getAttribute('href') || '', d.baseURI);
      const file = FILE.test(to.pathname) || link.hasAttribute('download');
      if (/^http/.test(to.protocol) && (file || to.hostname !== location.hostname)) paq.trackLink(to.href, file ? 'download' : 'link');
    };

    // Looking at the page is told for each 15 s of it.
    let pinging = false, listening = false, looked = 0, mark = 0;
    const look = () => {
      const now = performance.now();
      if (mark) looked += now - mark;
      mark = d.visibilityState === 'visible' && d.hasFocus() ? now : 0;
      for (; looked >= PING; looked -= PING) hit({ ping: 1 }, true);
    };

    /** The calls of `_paq` that do something here. @type {Record<string, (...args: any[]) => void>} */
    const paq = {
      setTrackerUrl(to) { endpoint = new URL(to, base).href; },
      setSiteId(id) { site = String(id); },
      setUserId(id) { user = id ? String(id) : ''; },
      resetUserId() { user = ''; },
      setCustomUrl(to) { url = new URL(to, location.href).href.split('#')[0]; },
      setReferrerUrl(to) { from = String(to); },
      setDocumentTitle(text) { title = String(text); },
      setCustomDimension(id, value) { dimensions['dimension' + Number(id)] = String(value); },
      deleteCustomDimension(id) { delete dimensions['dimension' + Number(id)]; },

      trackPageView(text) { hit({ action_name: text || title || d.title }); },
      trackEvent(category, action, name, value) { hit({ e_c: category, e_a: action, e_n: name, e_v: value }); },
      trackSiteSearch(search, category, count) { hit({ search, search_cat: category, search_count: count === 0 ? '0' : count }); },
      trackGoal(id, revenue) { hit({ idgoal: String(id), revenue }); },
      trackLink(to, kind) { hit({ [kind === 'download' ? 'download' : 'link']: to }); },
      trackContentImpression(name, piece, target) { hit({ c_n: name, c_p: piece, c_t: target }); },
      trackContentInteraction(what, name, piece, target) { hit({ c_i: what, c_n: name, c_p: piece, c_t: target }); },
      ping() { hit({ ping: 1 }); },

      addEcommerceItem(sku, name, category, price, quantity) { basket[sku] = [sku, name || '', category || '', price || 0, quantity || 1]; },
      removeEcommerceItem(sku) { delete basket[sku]; },
      clearEcommerceCart() { Object.keys(basket).forEach((sku) => delete basket[sku]); },
      trackEcommerceCartUpdate(revenue) { hit({ idgoal: '0', revenue, ec_items: items() }); },
      trackEcommerceOrder(order, revenue, subtotal, tax, shipping, discount) {
        hit({ idgoal: '0', ec_id: order, revenue, ec_st: subtotal, ec_tx: tax, ec_sh: shipping, ec_dt: discount, ec_items: items() });
        paq.clearEcommerceCart();
      },

      enableLinkTracking(yes) {
        if (listening || yes === false && arguments.length) return;
        listening = true;
        ['click', 'auxclick'].forEach((name) => d.addEventListener(name, safe(clicked), { passive: true, capture: true }));
      },
      enableHeartBeatTimer() {
        if (pinging) return;
        pinging = true;
        look();
        setInterval(safe(look), 1e3);
        ['focus', 'blur', 'pagehide'].forEach((name) => w.addEventListener(name, safe(look)));
        d.addEventListener('visibilitychange', safe(look));
      },

      requireConsent() { asks = true; if (cookie('mtm_consent')) given = true; },
      setConsentGiven() { consented(); },
      rememberConsentGiven(hours) { consented(); remember('mtm_consent', hours || YEARS); },
      forgetConsentGiven() { given = false; asks = true; remember('mtm_consent', 0); remember('mtm_consent_removed', YEARS); },
      optUserOut() {
        paq.forgetConsentGiven();
        mute = true;
        fetch(new URL('optout?s=' + encodeURIComponent(site), endpoint), { method: 'POST', keepalive: true, credentials: 'include', mode: 'no-cors' }).catch(() => { });
      },
      forgetUserOptOut() { remember('mtm_consent_removed', 0); }
    };

    const run = safe((/** @type {any} */ call) => {
      const [what, ...args] = call;
      if (typeof what === 'function') what.apply(paq, args);
      else if (Object.hasOwn(paq, what)) paq[what](...args);
    });

    // Settings stand before what is tracked, whatever their order in the queue, as Matomo runs them.
    /** @type {any[]} */
    const queue = Array.isArray(w._paq) ? w._paq : [];
    const early = (/** @type {any} */ call) => /^(set(TrackerUrl|SiteId|UserId)|requireConsent|forgetConsentGiven)$/.test(call[0]);
    w._paq = { push: /** @this {any} */ function () { for (const call of arguments) run(call); } };
    w.Matomo = w.Piwik = { getTracker: () => paq, getAsyncTracker: () => paq };
    const start = () => {
      queue.forEach((call) => { if (early(call)) run(call); });
      queue.forEach((call) => { if (!early(call)) run(call); });
    };
    ['visibilitychange', 'pagehide'].forEach((name) => w.addEventListener(name, safe(() => { if (name === 'pagehide' || d.visibilityState === 'hidden') free(); }), true));
    if (d.prerendering) d.addEventListener('prerenderingchange', start, { once: true });
    else start();
  })();
})(/** @type {any} */ (window), /** @type {any} */ (document), /** @type {any} */ (navigator));
