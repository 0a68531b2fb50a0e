#!/usr/bin/env python3
"""Makes rules.json and bots.txt here, and the test corpora in tests/data/agents.

Usage: make.py UA_PARSER CRAWLERS AGENTS   (Python 3.11 or later, PyYAML)
Each argument is an unpacked package of exactly the version pinned below:
  UA_PARSER  crate ua-parser, which carries uap-core as a folder
  CRAWLERS   npm crawler-user-agents
  AGENTS     npm user-agents
"""
import json, pathlib, re, sys, warnings
import re._constants as op
import re._parser as regex
import yaml

PINS = {"ua-parser": "0.2.2", "crawler-user-agents": "1.60.0", "user-agents": "2.1.198"}
HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests" / "data" / "agents"

# Not taken from the list of crawlers: persons use these, as an app or as a browser inside an app.
PERSONS = {
    "okhttp", "HttpUrlConnection",  # the HTTP libraries of Android apps
    "Blackboard", "Bluesky/", "Butterfly", "Code/1.", "Devin", "FastmailUA", "Goodreads", "Grammarly/", "Hotjar",
    "Instapaper/", "Klaviyo/", "Magellan", "Notion/", "PayPal/", "Swisscows", "Tumblr/", "upday/",
}

# What uap-core's device families are, where the name leaves no doubt.
KINDS = {
    "tv": r"HbbTV|NetCast.*|Inettv|AppleTV|WebTV|GoogleTV|Chromecast|LG (Google|smart) ?TV.*",
    "mobile": r"iPhone|iPod|Generic (Smartphone|Feature Phone)|Lumia .*|HTC (One|Desire).*|Nokia [CEN]\d+|BlackBerry \d+",
    "tablet": r"iPad|Kindle.*|Generic Tablet|Lenovo IdeaTab.*|Medion Lifetab.*|Xperia Tablet.*|Sony Tablet.*|Samsung SM-T\d+",
    "bot": r"Spider",
    "desktop": r"Mac",
    "other": r"PlayStation.*|Nintendo.*|Xbox.*|Apple Watch|Quest.*",
}


def main(ua_parser, crawlers, agents):
    for folder, name in zip((ua_parser, crawlers, agents), PINS):
        pinned(folder, name)
    core = ua_parser / "uap-core"
    rules = yaml.safe_load((core / "regexes.yaml").read_text())
    cases = {n: yaml.load((core / "tests" / f"test_{n}.yaml").read_text(), yaml.CSafeLoader)["test_cases"] for n in ("ua", "os", "device")}
    bots = json.loads((crawlers / "crawler-user-agents.json").read_text())
    real = json.loads((agents / "dist" / "user-agents.json").read_text())

    tokens = {t for b in bots for t in bot_tokens(b["pattern"])} - PERSONS
    write(HERE / "bots.txt", "".join(f"{t}\n" for t in sorted(tokens)))
    write(HERE / "rules.json", dump({
        "browser_names": names(rules["user_agent_parsers"], "family", cases["ua"], tokens),
        "os_names": names(rules["os_parsers"], "os", cases["os"], ()),
        "user_agent_parsers": rules["user_agent_parsers"],
        "os_parsers": rules["os_parsers"],
    }))

    for name in ("ua", "os"):
        rows = {(c["family"], c["major"] or "", c["user_agent_string"]) for c in cases[name]}
        write(TESTS / f"{name}.tsv", table(rows))
    write(TESTS / "bots.tsv", table({(i,) for b in bots for i in b["instances"][:3]}))
    kinds = {(kind, c["user_agent_string"]) for c in cases["device"] for kind in KINDS if re.fullmatch(KINDS[kind], c["family"])}
    write(TESTS / "kinds.tsv", table(kinds))
    write(TESTS / "devices.tsv", table({(r["deviceCategory"], r["userAgent"]) for r in real}))


def names(parsers, key, cases, tokens):
    """Every name that may be kept: what the rules spell out, what their own tests expect, the bots."""
    found = {c["family"] for c in cases} | {t.strip("^/ ") for t in tokens}
    for parser in parsers:
        template = parser.get(f"{key}_replacement") or "$1"
        captured = {""} if "$1" not in template else first_group(parser["regex"])
        found |= {template.replace("$1", text) for text in captured}
    # One spelling for each name: the first in ASCII order, which prefers capitals.
    kept = {}
    for name in sorted(found - {"", "Other"}):
        kept.setdefault(name.lower(), name)
    return sorted(kept.values())


def first_group(pattern):
    """The texts group 1 can capture, as far as they are spelled out."""
    def find(nodes):
        for code, value in nodes:
            if code is op.SUBPATTERN and value[0] == 1:
                return value[3]
            inner = {op.SUBPATTERN: lambda: [value[-1]], op.BRANCH: lambda: value[1],
                     op.MAX_REPEAT: lambda: [value[2]], op.MIN_REPEAT: lambda: [value[2]]}.get(code)
            for part in inner() if inner else ():
                if (group := find(part)) is not None:
                    return group
    group = find(regex.parse(pattern))
    if group is None:
        return set()
    if len(group) == 1 and group[0][0] is op.BRANCH:
        return set().union(*(texts(branch) or () for branch in group[0][1][1]))
    return texts(group) or set()


def texts(nodes, most=200):
    """The finite set of strings that a parsed pattern matches, or None."""
    result = {""}
    for code, value in nodes:
        if code is op.LITERAL:
            piece = {chr(value)}
        elif code is op.SUBPATTERN:
            piece = texts(value[3])
        elif code is op.BRANCH:
            branches = [texts(branch) for branch in value[1]]
            piece = None if None in branches else set().union(*branches)
        elif code is op.IN and all(c is op.LITERAL for c, _ in value):
            piece = {chr(v) for _, v in value}
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT) and value[1] == 1 and texts(value[2]) is not None:
            piece = texts(value[2]) | ({""} if value[0] == 0 else set())
        elif code is op.AT:
            piece = {""}
        else:
            return None
        if piece is None or len(result) * len(piece) > most:
            return None
        result = {a + b for a in result for b in piece}
    return result


def bot_tokens(pattern):
    """A crawler's pattern as plain texts; `^` in front = at the start only."""
    start, pattern = ("^", pattern[1:]) if pattern.startswith("^") else ("", pattern)
    spelled = texts(regex.parse(pattern))
    if spelled is None:  # a pattern with a gap: its longest plain run says enough
        spelled = {max(re.split(r"\[.*?\]\*?|\(.*?\)|\\[dsSw]\+?|\\", pattern), key=len)}
    return {start + text for text in spelled}


def dump(data):
    """One rule or name a line, so that an upgrade can be read as a diff."""
    blocks = (
        f'"{key}": [\n' + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]"
        for key, rows in data.items()
    )
    return "{" + ",\n".join(blocks) + "}\n"


def pinned(folder, name):
    manifest = folder / "package.json"
    if manifest.exists():
        version = json.loads(manifest.read_text())["version"]
    else:
        version = re.search(r'^version = "(.*)"', (folder / "Cargo.toml").read_text(), re.M)[1]
    if version != PINS[name]:
        sys.exit(f"{folder}: {name} is {version}, wanted {PINS[name]}")


def table(rows):
    return "".join("\t".join(re.sub(r"[\t\r\n]", " ", str(c)) for c in row) + "\n" for row in sorted(rows))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f"{path.name}: {len(text.encode())} bytes, {text.count(chr(10))} lines")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    warnings.simplefilter("ignore", FutureWarning)
    main(*map(pathlib.Path, sys.argv[1:]))
