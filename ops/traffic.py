"""Owns the load: what wrk sends, in the form that ops/load.lua reads. The loads are told in docs/performance.md.

The same arguments give the same requests. The addresses stand for nobody.
"""
import hashlib
import hmac
import random
import urllib.parse

from machine import ROOT
from servers import SECRET

REQUESTS = 20_000
VISITORS = 5_000
# First three bytes of addresses of access providers: 70 % where one may opt out, 30 % where one must opt in.
OPT_OUT = ["24.6", "24.16", "66.30", "67.160", "68.32", "71.56", "73.15", "73.92", "76.21", "98.192", "126.0", "1.120", "187.188", "181.16"]
OPT_IN = ["79.192", "91.0", "90.0", "82.64", "84.24", "88.0", "83.0", "86.40"]
REFERRERS = ["https://www.google.com/", "https://www.bing.com/", "https://duckduckgo.com/", "https://www.facebook.com/", "https://t.co/a1B2c3D4e5",
             "https://www.reddit.com/r/stationery/", "https://news.ycombinator.com/item?id=1", "https://blog.example.net/paper-we-like",
             "https://partner.example.com/links", "https://shop.example/", "https://shop.example/products/winter-ink"]
CAMPAIGNS = ["utm_source=newsletter&utm_medium=email&utm_campaign=autumn", "utm_source=google&utm_medium=cpc&utm_campaign=notebooks&utm_term=dotted+notebook"]
LANGUAGES = ["en-US,en;q=0.9", "en-GB,en;q=0.8", "de-DE,de;q=0.9,en;q=0.6", "fr-FR,fr;q=0.9", "es-MX,es;q=0.9", "ja-JP,ja;q=0.9"]
SCREENS = [(1920, 1080), (1536, 864), (1440, 900), (390, 844), (412, 915), (360, 800)]


def made_requests(load, close=False, sites=("acme",)):
    """What wrk sends: `REQUESTS` different requests (ops/load.lua has the form).

    Loads: `mixed`; `dearest` (every hit a new visitor, page, referrer and event id); `known` (mixed pages, but each
    hit comes from where one may opt out and carries the next cookie of a file); `distinct` (as `known`, with a page,
    referrer and event name that are the next number's own). The first of `sites` has the most, by Zipf's law.
    """
    draw = random.Random(7)
    busy = [1 / (rank + 1) for rank in range(len(sites))]
    lines = (ROOT / "tests/data/agents/devices.tsv").read_text().splitlines()
    agents = [line.split("\t")[1] for line in lines[:: len(lines) // 200][:200]]
    pages = [f"https://shop.example/{draw.choice(['products', 'journal', 'help'])}/{word(draw)}-{word(draw)}-{number}" for number in range(1_000)]
    titles = [f"{word(draw)} {word(draw)}: Papeterie & ink".title() for _ in pages]
    is_counted, is_first = load in ("known", "distinct"), load in ("dearest", "distinct")
    out = bytearray()
    for _ in range(REQUESTS):
        site = draw.choices(sites, busy)[0] if len(sites) > 1 else sites[0]
        opt_out = is_first or is_counted or draw.random() < 0.7
        page = int(len(pages) * draw.random() ** 3)
        url = pages[page] + (f"?{draw.choice(CAMPAIGNS)}" if draw.random() < 0.1 else "")
        width, height = draw.choice(SCREENS)
        query = {"s": site, "e": "page_view", "u": url, "t": titles[page], "l": "en-US", "sw": width, "sh": height}
        if is_first or draw.random() < 0.7:
            query["r"] = draw.choice(REFERRERS)
        if not opt_out and draw.random() < 0.5:
            query["consent"] = "granted"
        headers = {
            "Host": "collect.example", "User-Agent": draw.choice(agents), "Accept": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            "Accept-Language": draw.choice(LANGUAGES), "Accept-Encoding": "gzip, deflate, br, zstd", "Referer": "https://shop.example/",
            "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site",
            "X-Forwarded-For": f"{draw.choice(OPT_OUT if opt_out else OPT_IN)}.{draw.randrange(150)}.{draw.randrange(1, 255)}",
        }
        if load == "mixed":
            jar = []
            if draw.random() < 0.3:
                jar += ["theme=dark", f"_session={draw.randbytes(12).hex()}"]
            if draw.random() < 0.65:
                jar.append(id_cookie(site, int(VISITORS * draw.random() ** 2)))
            if draw.random() < 0.03:
                jar.append("__Host-cp_optout=1")
            if jar:
                headers["Cookie"] = "; ".join(jar)
            if draw.random() < 0.05:
                headers["Sec-GPC"] = "1"
            if draw.random() < 0.01:
                headers["DNT"] = "1"
        if is_counted:
            headers["Cookie"] = f"__Host-cp_id.{site}=\x1d"
        if close:
            headers["Connection"] = "close"
        rest = " HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        if load == "distinct":
            query |= {"e": "viewed-\x1c", "u": "https://shop.example/products/ink-\x1c", "r": "https://site-\x1c.example.net/"}
        line = "GET /p.gif?" + urllib.parse.urlencode(query, safe="\x1c")
        if is_first or draw.random() < 0.8:
            kind = "again" if load == "mixed" and draw.random() < 0.01 else "fresh"
            out += f"{line}&id=\x1f{kind}\x1f{rest}\x1e".encode()
        else:
            out += f"{line}{rest}\x1f\x1f\x1e".encode()
    return bytes(out)


def word(draw):
    return "".join(draw.choice(["pa", "per", "in", "ko", "lu", "mi", "ra", "to", "ven", "sel"]) for _ in range(draw.randrange(2, 4)))


def write_ids(path, site, count):
    """The values of the id cookies of `count` visitors, a line each: what `\\29` stands for in ops/load.lua."""
    with open(path, "w") as out:
        for first in range(0, count, 10_000):
            out.write("".join(f"{signed_id(site, number)}\n" for number in range(first, min(first + 10_000, count))))


def id_cookie(site, number):
    """The id cookie of a visitor of `site`: its value is `VISITOR_ID.MAC` (rules/identity.rs)."""
    return f"__Host-cp_id.{site}={signed_id(site, number)}"


def signed_id(site, number):
    visitor = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16).digest()
    fields = b"".join(len(field).to_bytes(8, "little") + field for field in (b"visitor", site.encode(), visitor))
    return f"{visitor.hex()}.{hmac.digest(SECRET, fields, 'sha256')[:16].hex()}"
