"""Owns the hits that the foreign readers are shown: `send.py HOST:PORT` sends a `demo` collector some thousands
of page views, events and beacons of many visitors with consent, each with a cookie jar, over kept connections.
The same hits every time, but for their times and the ids that the collector gives. Standard library only.
"""
import http.client
import json
import random
import sys
import urllib.parse

VISITORS = 900
HITS = 6_000
AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
]
REFERRERS = ["", "https://www.google.com/", "https://t.co/x", "https://blog.example.net/paper", "https://shop.example/"]
LANGUAGES = ["en-US", "de-DE", "fr", "ja-JP", "pt-BR"]


def send(connection, jar, method, path, body, headers):
    """Sends one hit with the visitor's cookies and keeps those of the answer."""
    if jar:
        headers = headers | {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status not in (200, 204):
        raise SystemExit(f"{method} {path}: answered {answer.status}")
    for line in answer.headers.get_all("Set-Cookie") or []:
        name, value = line.split(";", 1)[0].split("=", 1)
        jar[name] = value


def main():
    rng = random.Random(11)
    connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
    jars = [{} for _ in range(VISITORS)]
    agents = [rng.choice(AGENTS) for _ in jars]
    for number in range(HITS):
        # The first hits let every visitor come once.
        visitor = number if number < VISITORS else rng.randrange(VISITORS)
        page = f"https://shop.example/p/{int(rng.paretovariate(0.9)) % 500}"
        if rng.random() < 0.1:
            page += "?" + rng.choice(["utm_source=letter&utm_medium=email&utm_campaign=autumn", "utm_source=ä ö&utm_campaign=%E2%9C%93"])
        event = rng.choices(["page_view", "engagement", "click", "outbound_click", "bought"], [60, 20, 10, 5, 5])[0]
        hit = {"site": "demo", "event": event, "page_url": page, "page_title": f"Paper №{number % 97}", "consent": "granted",
               "referrer_url": rng.choice(REFERRERS), "language": rng.choice(LANGUAGES), "screen_width": 1280, "screen_height": 800}
        if event == "engagement":
            hit |= {"engaged_ms": rng.randrange(60_000), "scroll_percent": rng.randrange(101)}
        if event == "click":
            hit |= {"element": f"button:b{number % 7}"}
        if event == "outbound_click":
            hit |= {"target_url": f"https://example.org/{number % 11}"}
        if event == "bought":
            hit |= {"properties": {"sum": number / 4, "item": "ink “blue”", "gift": number % 2 == 0}}
        if rng.random() < 0.05:
            del hit["consent"]  # refused until the visitor's cookie says yes
        headers = {"User-Agent": agents[visitor]}
        if event == "page_view" and rng.random() < 0.5:
            short = {"s": "demo", "u": page, "r": hit["referrer_url"], "t": hit["page_title"], "l": hit["language"], "sw": 1280, "sh": 800}
            if "consent" in hit:
                short["consent"] = "granted"
            send(connection, jars[visitor], "GET", "/p.gif?" + urllib.parse.urlencode(short), None, headers)
        else:
            send(connection, jars[visitor], "POST", "/e", json.dumps(hit).encode(), headers | {"Content-Type": "text/plain"})
    connection.close()
    print(f"sent {HITS} hits of {VISITORS} visitors")


if __name__ == "__main__":
    main()
