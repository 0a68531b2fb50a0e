/*! clearpixel, Apache-2.0 */
/**
 * clearpixel's tag: tells the collector it came from what is seen and clicked on this page.
 *   <script async src="https://HOST/tag.js" data-site="KEY"></script>
 * Promises: stores nothing in the browser, reads no input's value, never throws into the page or
 * blocks it; no eval. It asks, the collector decides. Do Not Track or data-child: sends nothing; GPC is told.
 * Also: data-consent="granted|denied" data-anonymous data-hash data-endpoint="https://HOST";
 * data-cp="name" names an element, data-cp-off hides it.
 * Calls: clearpixel('event', name, {…}), ('page'), ('consent', 'granted|denied'), ('optout').
 * Held to its types by `tsc`; comments like this one are not sent.
 * Until loaded: window.clearpixel = window.clearpixel || function () { (clearpixel.q = clearpixel.q || []).push(arguments) }
 */
(function (w, d, n) {
  'use strict';

  /** @typedef {Record<string, any>} Hit fields of one event, as in POST /e */
  /** @typedef {{ url: string, from: string, title?: string }} Page what is looked at */

  /** What goes wrong in f stays in f. @param {Function} f @returns {(...args: any[]) => any} */
  const safe = (f) => /** @this {any} */ function () {
    try { return f.apply(null, arguments); } catch (e) { }
  };

  /** @param {EventTarget} target @param {string} names @param {(event: any) => void} f */
  const on = (target, names, f) => names.split(' ').forEach((name) =>
    target.addEventListener(name, safe(f), { passive: true, capture: true }));

  safe(() => {
    const script = d.currentScript || d.querySelector('script[data-site]');
    const set = script.dataset;
    const old = w.clearpixel || {};
    if (old.site) return; // loaded twice
    const base = set.endpoint || new URL(script.src).origin;
    const FILE = /\.(pdf|docx?|xlsx?|pptx?|od[tsp]|csv|txt|epub|mp[34]|mov|wav|zip|t?gz|tar|7z|rar|xz|dmg|pkg|exe|msi|deb|rpm|apk|iso)$/i;

    let mute = n.doNotTrack === '1' || 'child' in set;
    let started = false, consent = set.consent;
    /** @type {Record<string, string | undefined>} */
    const signals = {}; // from consent platforms
    /** @type {Page} */
    let page;
    /** @type {Hit} */
    let view; // the view goes again on consent: same event_id, so it counts once
    let timer = 0; // view waits for its title
    let awake = false, mark = 0, last = 0, engaged = 0; // ms
    let depth = 0, told = 0; // % seen, % reported
    /** @type {((again: boolean) => void)[] | null | undefined} */
    let held; // the first answer brings the id: what follows waits for it

    const here = () => 'hash' in set ? location.href : location.href.split('#')[0];

    /** @param {string} event @param {Hit} [more] @returns {Hit} */
    const hit = (event, more) => Object.assign({
      site: set.site,
      event,
      event_id: Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => (b + 256).toString(16).slice(1)).join(''),
      page_url: page.url,
      referrer_url: page.from || undefined,
      page_title: page.title || d.title,
      language: n.language,
      screen_width: screen.width,
      screen_height: screen.height,
      occurred_at: Date.now(),
      anonymous: 'anonymous' in set || undefined,
      gpc: n.globalPrivacyControl || undefined
    }, more);

    /** Where fetch is barred. @param {Hit} h */
    const pixel = (h) => {
      const query = new URLSearchParams();
      for (const k in h) {
        if (k === 'properties') for (const p in h[k]) query.set('p.' + p, h[k][p]);
        else if (h[k] !== undefined) query.set(k, h[k]);
      }
      new Image().src = base + '/p.gif?' + query;
    };

    const free = () => {
      const all = held || [];
      held = null;
      all.forEach((go) => go(true));
    };

    /** @param {Hit} h @param {boolean} [leaving] the page may be gone in a moment */
    const send = (h, leaving) => {
      const go = safe((/** @type {boolean} */ again) => {
        // Denied: page views alone, for the ledger to count.
        if (mute || consent === 'denied' && h.event !== 'page_view') return;
        Object.assign(h, signals, { consent, sent_at: Date.now() });
        const body = JSON.stringify(h);
        if (leaving && n.sendBeacon && n.sendBeacon(base + '/e', new Blob([body], { type: 'text/plain;charset=UTF-8' }))) return;
        if (!w.fetch) return pixel(h);
        const first = held === undefined;
        if (first) held = [];
        fetch(base + '/e', { method: 'POST', body, keepalive: true, credentials: 'include', mode: 'cors' }).then(
          (r) => { if (again && r.status === 503) setTimeout(go, 1e3 + Math.random() * 1e3); },
          safe(() => pixel(h))).then(first ? free : null);
      });
      if (held && !leaving && held.length < 99) held.push(go);
      else go(true);
    };

    /** Counts visible, focused, lately active time. @param {boolean} alive */
    const tick = (alive) => {
      const now = performance.now();
      if (awake) engaged += Math.max(0, Math.min(now, last + 3e4) - mark);
      mark = now;
      awake = d.visibilityState === 'visible' && d.hasFocus();
      if (alive) last = now;
    };

    const look = () => {
      depth = Math.max(depth, Math.min(100, Math.round(100 * (w.scrollY + w.innerHeight) / d.documentElement.scrollHeight) || 0));
    };

    /** Sends what is new. */
    const report = () => {
      tick(false);
      const ms = Math.round(engaged);
      if (ms) look();
      if (ms || depth > told) send(hit('engagement', { engaged_ms: ms, scroll_percent: depth }), true);
      engaged = 0;
      told = depth;
    };

    /** Sends a waiting view. @param {boolean} [leaving] */
    const settle = (leaving) => {
      if (!timer) return;
      clearTimeout(timer);
      timer = 0;
      view.page_title = page.title = d.title;
      send(view, leaving);
    };

    const leave = () => {
      settle(true);
      report();
      free();
    };

    /** @param {string} from @param {number} wait ms for the title */
    const open = (from, wait) => {
      settle();
      if (page) report();
      page = { url: here(), from };
      view = hit('page_view');
      awake = false;
      depth = told = 0;
      tick(true);
      timer = setTimeout(safe(settle), wait);
      if (!wait) settle();
    };

    /** @param {boolean} replaced */
    const moved = (replaced) => {
      if (!page || here() === page.url) return;
      if (timer && replaced) page.url = view.page_url = here(); // a redirect
      else open(page.url.split('#')[0], 100);
    };

    const again = () => {
      if (!view || timer) return;
      free();
      held = undefined;
      send(view);
    };

    /** A stable name without digits or addresses. @param {Element} el */
    const label = (el) => {
      const tag = el.tagName.toLowerCase();
      const name = el.getAttribute('data-cp');
      if (name) return tag + ':' + name;
      if (/^[a-z][a-z_-]{0,39}$/i.test(el.id)) return tag + '#' + el.id;
      const text = tag === 'input' || el.querySelector('input,textarea,select,[contenteditable]') ? '' :
        el.getAttribute('aria-label') || el.textContent || '';
      return (tag + ' ' + text.replace(/\S+@\S+|\d/g, '').replace(/\s+/g, ' ').trim().slice(0, 40)).trim();
    };

    /** @param {any} e */
    const clicked = (e) => {
      if (e.button > 1) return;
      const at = e.composedPath()[0];
      if (!at.closest || at.closest('[data-cp-off]')) return;
      const link = at.closest('a[href],area[href]');
      if (link) {
        const to = new URL(link.getAttribute('href') || '', d.baseURI);
        const file = FILE.test(to.pathname) || link.hasAttribute('download');
        if (/^http/.test(to.protocol) && (file || to.hostname !== location.hostname)) {
          send(hit(file ? 'download' : 'outbound_click', { target_url: to.href.split('#')[0] }), true);
          return;
        }
      }
      const button = at.closest('button,[role=button],input[type=submit],input[type=button],[data-cp]');
      if (button && !e.button) send(hit('click', { element: label(button) }));
    };

    /** What a consent platform says. @param {Record<string, string | undefined>} s */
    const heard = (s) => {
      if (JSON.stringify(signals) !== JSON.stringify(Object.assign(signals, s))) again();
    };
    /** @type {any} */
    let tcf;
    /** @type {any} */
    let gpp;
    const listen = () => {
      if (!tcf && (tcf = w.__tcfapi)) {
        tcf('addEventListener', 2, safe((/** @type {any} */ t, /** @type {boolean} */ ok) => {
          if (ok && t.eventStatus !== 'cmpuishown') heard({ gdpr: { true: '1', false: '0' }[/** @type {'true'} */ (t.gdprApplies)], gdpr_consent: t.tcString });
        }));
      }
      if (!gpp && (gpp = w.__gpp)) {
        gpp('addEventListener', safe((/** @type {any} */ e, /** @type {boolean} */ ok) => {
          const p = e.pingData;
          if (ok && p.signalStatus === 'ready') heard({ gpp: p.gppString, gpp_sid: (p.applicableSections || []).join() });
        }));
      }
    };

    const run = safe((/** @type {string} */ what, /** @type {any} */ a, /** @type {any} */ b) => {
      if (what === 'event' && a && page) {
        send(a.event ? hit(a.event, a) : hit(String(a), { properties: b }));
      } else if (what === 'page' && page) {
        open(page.from, 0);
      } else if (what === 'consent' && (a === 'granted' || a === 'denied')) {
        consent = a;
        if (a === 'granted') again();
      } else if (what === 'optout') {
        mute = true;
        fetch(base + '/optout?s=' + set.site, { method: 'POST', keepalive: true, credentials: 'include', mode: 'no-cors' }).catch(() => { });
      }
    });

    /** @type {any[]} */
    const queue = old.q || [];
    w.clearpixel = function () {
      if (started) run(...arguments);
      else queue.push(arguments);
    };
    w.clearpixel.site = set.site;

    const start = safe(() => {
      const early = (/** @type {any} */ a) => a[0] === 'consent' || a[0] === 'optout';
      started = true;
      queue.forEach((a) => { if (early(a)) run(...a); });
      if (mute) return;
      safe(listen)();
      open(d.referrer, 0);
      queue.forEach((a) => { if (!early(a)) run(...a); });

      ['pushState', 'replaceState'].forEach((name) => {
        const own = w.history[name];
        w.history[name] = /** @this {any} */ function () {
          const result = own.apply(this, arguments);
          safe(moved)(name === 'replaceState');
          return result;
        };
      });
      on(w, 'popstate hashchange', () => moved(false));
      on(w, 'load', listen);
      on(w, 'pageshow', (e) => { if (e.persisted) open(d.referrer, 0); });
      on(w, 'focus', () => tick(true));
      on(w, 'blur', () => tick(false));
      on(d, 'visibilitychange', () => {
        if (d.visibilityState === 'visible') return tick(true);
        leave();
      });
      on(w, 'pagehide', () => { leave(); awake = false; });
      on(d, 'pointermove pointerdown keydown wheel touchmove', () => tick(true));
      on(d, 'scroll', () => { tick(true); look(); });
      on(d, 'click auxclick', clicked);
    });
    if (d.prerendering) d.addEventListener('prerenderingchange', start, { once: true });
    else start();
  })();
})(/** @type {any} */ (window), /** @type {any} */ (document), /** @type {any} */ (navigator));
