#!/usr/bin/env python3
"""Makes snowplow.tsv here. Usage: make.py REFERER_PARSER (the unpacked PyPI package, version 0.4.1)"""
import json, pathlib, sys

HERE = pathlib.Path(__file__).resolve().parent


def main(package):
    if "\nVersion: 0.4.1\n" not in (package / "PKG-INFO").read_text():
        sys.exit(f"{package}: wanted referer-parser 0.4.1")
    media = json.loads((package / "referer_parser" / "data" / "referers.json").read_text())
    places = {}
    # "unknown" goes first, so that a provider that is known better takes its place.
    for medium in ("unknown", "email", "social", "search"):
        for name, provider in sorted(media[medium].items()):
            for place in provider["domains"]:
                places[place] = ("referral", "-") if medium == "unknown" else (medium, name)
    rows = sorted(
        (medium, name, place)
        for place, (medium, name) in places.items()
        # A host answers for the hosts below it, so www. says something new only without its parent.
        if not (place.startswith("www.") and places.get(place[4:]) == (medium, name))
    )
    (HERE / "snowplow.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    print(len(rows), "places")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
