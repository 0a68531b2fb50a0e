/**
 * The demonstration shop's own script, at /demo/shop.js. It owns the banner's buttons, the products that
 * open in place, the basket and the list of what left the page. Every choice works without it, by plain
 * forms. It stores nothing in the browser and changes nothing of what the tag sends: it only reads along.
 */
(() => {
  'use strict';

  // The tag loads when it likes; until then its calls wait here.
  window.clearpixel = window.clearpixel || function () { (window.clearpixel.q = window.clearpixel.q || []).push(arguments); };

  // Read along: each message to /e, as it is sent ------------------------------------------------
  const sent = [];
  const show = () => {
    const box = document.querySelector('.log');
    if (!box) return;
    box.hidden = false;
    box.querySelector('[data-count]').textContent = String(sent.length);
    const list = box.querySelector('[data-log]');
    for (const text of sent.slice(list.children.length)) {
      const item = document.createElement('li');
      let hit = {};
      try { hit = JSON.parse(text); } catch { /* shown as it is */ }
      item.textContent = hit.event || 'message';
      const body = document.createElement('pre');
      body.textContent = text;
      item.append(body);
      list.append(item);
    }
  };
  const note = async (url, body) => {
    if (!/\/e$/.test(String(url)) || !body) return;
    sent.push(typeof body === 'string' ? body : await body.text());
    show();
  };
  const { fetch: ownFetch } = window;
  window.fetch = function (url, options) {
    note(url, options && options.body).catch(() => {});
    return ownFetch.apply(this, arguments);
  };
  const ownBeacon = navigator.sendBeacon;
  navigator.sendBeacon = function (url, body) {
    note(url, body).catch(() => {});
    return ownBeacon.apply(navigator, arguments);
  };

  document.addEventListener('DOMContentLoaded', () => {
    const root = document.documentElement;
    show();

    // The dashboard is on another port; where the page was not told which, the usual one.
    for (const link of document.querySelectorAll('[data-dashboard]')) {
      if (link.getAttribute('href').includes('{{')) link.href = `http://${location.hostname}:8081/`;
    }

    // The banner: the collector sets its cookie, then the tag announces this page again -----------
    for (const form of document.querySelectorAll('form[data-ask]')) {
      form.addEventListener('submit', async (event) => {
        const choice = event.submitter && event.submitter.value;
        if (!choice) return; // as a plain form
        event.preventDefault();
        const body = new URLSearchParams(new FormData(form));
        body.set('choice', choice);
        const answer = await ownFetch(form.action, { method: 'POST', body, credentials: 'same-origin' }).catch(() => null);
        if (!answer || !answer.ok) return location.reload(); // a token too old, or no collector: ask anew
        root.dataset.choice = choice;
        window.clearpixel('consent', choice);
        document.getElementById('main').focus({ preventScroll: true });
      });
    }

    // Products that open in place -------------------------------------------------------------------
    const list = document.querySelector('[data-list]');
    if (list) {
      const title = document.title;
      const open = (moved) => {
        const item = new URLSearchParams(location.search).get('item');
        let shown = list;
        for (const detail of document.querySelectorAll('[data-detail]')) {
          detail.hidden = detail.dataset.detail !== item;
          if (!detail.hidden) shown = detail;
        }
        list.hidden = shown !== list;
        const heading = shown.querySelector('h1');
        document.title = shown === list ? title : `${heading.textContent} — Plain Paper Co.`;
        if (moved) {
          scrollTo(0, 0);
          heading.focus({ preventScroll: true });
        }
      };
      document.addEventListener('click', (event) => {
        const link = event.target.closest('a[data-item]');
        if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        history.pushState(null, '', link.href);
        open(true);
      });
      addEventListener('popstate', () => open(true));
      open(false);
    }

    // The basket: a number on the page, and an event of the shop's own -------------------------------
    let things = 0;
    document.addEventListener('click', (event) => {
      const add = event.target.closest('[data-add]');
      if (!add) return;
      things += 1;
      for (const basket of document.querySelectorAll('[data-basket]')) basket.textContent = things === 1 ? '1 thing' : `${things} things`;
      window.clearpixel('event', 'add_to_basket', { item: add.dataset.add, price: Number(add.dataset.price) });
    });
  });
})();
