"""Owns the proof that the lake's tables open in readers that are not ours.

    read.py BINARY DATA_DIR

Opens `interactions` and `trends` of a data folder that no collector is using by PyPI `deltalake` (delta-rs),
DuckDB (delta-kernel), ClickHouse (chdb) and plain pyarrow over the live files, and compares names, types and
counts with one another, with the list below and with `BINARY query`. Merges the sketches with Apache's own
library. Looks into footers and the Delta log for anything that tells of a person. Reads only; reaches no
network. Prints one line a check, then `N passed, N failed`; exit 0 when all passed, 1 when not.
"""
import collections
import csv
import datetime
import io
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse

import chdb
import duckdb
import duckdb_extension_delta
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
from datasketches import hll_sketch, hll_union, tgt_hll_type
from deltalake import DeltaTable

# What users rely on. Written out here, not read from the program: a change of a name must fail.
INTERACTIONS = dict(
    event_id="string", site="string", received_at="timestamp", occurred_at="timestamp", day="date",
    channel="string", event="string", page_url="string", page_host="string", page_path="string",
    page_title="string", referrer_url="string", referrer_host="string", source_medium="string",
    source_name="string", utm_source="string", utm_medium="string", utm_campaign="string", utm_term="string",
    utm_content="string", target_url="string", target_host="string", element="string", visitor_id="string",
    visit_id="string", engaged_ms="int", scroll_percent="int", network="string", country="string",
    browser="string", browser_version="string", os="string", os_version="string", device="string",
    is_bot="boolean", language="string", screen_width="int", screen_height="int", regime="string",
    legal_basis="string", consent_source="string", may_share="boolean", protocol="string",
    properties="map<string,string>",
)
TRENDS = dict(
    site="string", hour="timestamp", dimension="string", value="string", interactions="long",
    page_views="long", visits="long", engaged_ms="long", visitors_sketch="binary", day="date",
)
TABLES = {"interactions": INTERACTIONS, "trends": TRENDS}
# Readers may skip by these alone; no other column has statistics anywhere.
MAY_SKIP = {"interactions": {"site", "received_at", "occurred_at", "event"}, "trends": {"site", "hour", "dimension"}}

# How each reader calls our types.
DUCKDB = {
    "VARCHAR": "string", "TIMESTAMP WITH TIME ZONE": "timestamp", "DATE": "date", "INTEGER": "int", "BIGINT": "long",
    "BOOLEAN": "boolean", "BLOB": "binary", "MAP(VARCHAR, VARCHAR)": "map<string,string>",
}
# ClickHouse has one type for text and bytes.
CLICKHOUSE = {
    "Nullable(String)": "string", "Nullable(DateTime64(6))": "timestamp", "Nullable(DateTime64(6, 'UTC'))": "timestamp",
    "Nullable(Date32)": "date", "Nullable(Int32)": "int", "Nullable(Int64)": "long", "Nullable(Bool)": "boolean",
    "Map(String, Nullable(String))": "map<string,string>",
}
ARROW = {
    "string": "string", "timestamp[us, tz=UTC]": "timestamp", "date32[day]": "date", "int32": "int", "int64": "long",
    "bool": "boolean", "binary": "binary", "map<string, string>": "map<string,string>",
}

passed = failed = 0


def check(ok, what, seen=None):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
    tail = "" if ok or seen is None else f" (saw {str(seen)[:400]})"
    print(f"{'ok    ' if ok else 'FAILED'} {what}{tail}", flush=True)


def differences(seen, expected):
    """Where two lists of columns differ."""
    return {name: (seen.get(name), expected.get(name)) for name in seen | expected if seen.get(name) != expected.get(name)}


def query(binary, data, sql):
    run = subprocess.run([binary, "query", sql, "--format", "csv", "--data", data], capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise RuntimeError(f"query: exit code {run.returncode}: {run.stderr.strip()}")
    return list(csv.DictReader(io.StringIO(run.stdout)))


def query_numbers(binary, data, sql):
    return [int(value) for value in query(binary, data, sql)[0].values()]


def log_of(table):
    """Every action of the Delta log, in order: those of the newest checkpoint, and of the entries after it."""
    checkpoints = sorted((table / "_delta_log").glob("*.checkpoint.parquet"))
    begin = -1
    if checkpoints:
        begin = int(checkpoints[-1].name[:20])
        for row in pyarrow.parquet.read_table(checkpoints[-1]).to_pylist():
            yield {kind: action for kind, action in row.items() if action is not None}
    for path in sorted((table / "_delta_log").glob("*.json")):
        if int(path.name[:20]) > begin:
            for line in path.read_text().splitlines():
                yield json.loads(line)


def live_files(table):
    """Paths of the table's files, by the log alone."""
    live = {}
    for action in log_of(table):
        if "add" in action:
            live[action["add"]["path"]] = action["add"]
        if "remove" in action:
            live.pop(action["remove"]["path"], None)
    return [str(table / urllib.parse.unquote(path)) for path in live]


def names_types_counts(name, table, delta, duck, binary, data):
    expected, counts = TABLES[name], {}

    def delta_type(kind):
        text = json.loads(kind.to_json())
        if isinstance(text, dict):
            return f"map<{text['keyType']},{text['valueType']}>"
        return "int" if text == "integer" else text

    seen = {field.name: delta_type(field.type) for field in delta.schema().fields}
    check(seen == expected, f"{name}: names and types, deltalake", differences(seen, expected))
    check(delta.metadata().partition_columns == ["day"], f"{name}: partitioned by day", delta.metadata().partition_columns)
    counts["deltalake"] = delta.count()

    duck.execute(f"create view {name} as select * from delta_scan('{table}')")
    seen = {row[0]: DUCKDB.get(row[1], row[1]) for row in duck.execute(f"describe {name}").fetchall()}
    check(seen == expected, f"{name}: names and types, DuckDB", differences(seen, expected))
    counts["DuckDB"] = duck.execute(f"select count(*) from {name}").fetchone()[0]

    place = f"deltaLakeLocal('{table}')"
    rows = [json.loads(line) for line in str(chdb.query(f"describe table {place}", "JSONEachRow")).splitlines()]
    seen = {row["name"]: CLICKHOUSE.get(row["type"], row["type"]) for row in rows}
    as_text = {column: "string" if kind == "binary" else kind for column, kind in expected.items()}
    check(seen == as_text, f"{name}: names and types, ClickHouse", differences(seen, as_text))
    counts["ClickHouse"] = int(str(chdb.query(f"select count() from {place}", "TSV")))

    files = live_files(table)
    day = pyarrow.dataset.partitioning(pyarrow.schema([("day", pyarrow.date32())]), flavor="hive")
    plain = pyarrow.dataset.dataset(files, format="parquet", partitioning=day, partition_base_dir=str(table))
    seen = {field.name: ARROW.get(arrow_name(field.type), str(field.type)) for field in plain.schema}
    check(seen == expected, f"{name}: names and types, pyarrow", differences(seen, expected))
    schemas = {str(pyarrow.parquet.read_schema(path)) for path in files}
    check(len(schemas) == 1, f"{name}: all {len(files)} live files have one schema", len(schemas))
    counts["pyarrow"] = plain.count_rows()

    check(len(set(counts.values())) == 1 and counts["pyarrow"] > 0, f"{name}: {counts['pyarrow']} rows by all four readers", counts)

    # Whole rows, not their number alone: every column's filled values and, where a sum means something, its sum.
    columns = sorted(column for column, kind in expected.items() if not kind.startswith("map"))
    filled = ", ".join(f"count({column})" for column in columns)
    numbers = [column for column in columns if expected[column] in ("int", "long")]
    sums = ", ".join(f"coalesce(sum({column}), 0)" for column in numbers)
    by_duck = [int(value) for value in duck.execute(f"select {filled}, {sums} from {name}").fetchone()]
    by_click = [int(value) for value in str(chdb.query(f"select {filled}, {sums} from {place}", "TSV")).split()]
    held = plain.to_table()
    by_arrow = [held.num_rows - held[column].null_count for column in columns]
    by_arrow += [pyarrow.compute.sum(held[column]).as_py() or 0 for column in numbers]
    check(by_duck == by_click == by_arrow, f"{name}: filled values and sums of every column agree", (by_duck, by_click, by_arrow))

    # Our own query adds up trends' rows of one key, which commits have written apart, and shows the files' rows
    # as `trends_parts`.
    rows = query_numbers(binary, data, f"select count(*), {filled}, {sums} from {'trends_parts' if name == 'trends' else name}")
    check(rows == [held.num_rows, *by_arrow], f"{name}: `clearpixel query` has the same", (rows, by_arrow))
    if name != "trends":
        # What is spelled out in the files, for it never comes again.
        spelled = "select event_id, coalesce(visit_id, '') from {} order by event_id"
        by_duck = [tuple(row) for row in duck.execute(spelled.format(name)).fetchall()]
        by_click = [tuple(line.split("\t")) for line in str(chdb.query(spelled.format(place), "TSV")).splitlines()]
        by_arrow = sorted((event, visit or "") for event, visit in zip(held["event_id"].to_pylist(), held["visit_id"].to_pylist()))
        check(by_duck == by_click == by_arrow, f"{name}: the same ids, one by one", (by_duck[:2], by_click[:2], by_arrow[:2]))
        return held
    ours = query_numbers(binary, data, f"select count(*), {filled}, {sums} from {name}")
    merged = ", ".join(f"sum({column}) as {column}" for column in numbers)
    source = f"(select site, hour, day, dimension, value, {merged}, any_value(visitors_sketch) as visitors_sketch from trends group by all)"
    theirs = [int(value) for value in duck.execute(f"select count(*), {filled}, {sums} from {source}").fetchone()]
    check(ours == theirs, f"{name}: its {ours[0]} keys, added up, are what `clearpixel query` calls trends", (ours, theirs))
    return held


def arrow_name(kind):
    """The type without the names of a map's parts."""
    return f"map<{kind.key_type}, {kind.item_type}>" if pyarrow.types.is_map(kind) else str(kind)


def footers(name, table):
    """Which columns tell their least and greatest value, and which have a bloom filter."""
    skippable, telling, blooms, row_groups = MAY_SKIP[name], collections.Counter(), collections.Counter(), 0
    missing = set()
    for path in live_files(table):
        metadata = pyarrow.parquet.ParquetFile(path).metadata
        row_groups += metadata.num_row_groups
        # The Arrow schema is the format's own; anything else might tell who wrote what for whom.
        extra = set(metadata.metadata or {}) - {b"ARROW:schema"}
        check(not extra, f"{name}: no key-value metadata", extra) if extra else None
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(number)
                column = chunk.path_in_schema
                if chunk.is_stats_set and (chunk.statistics.has_min_max or chunk.statistics.has_null_count or chunk.statistics.has_distinct_count):
                    telling[column] += 1
                elif column in skippable:
                    missing.add(column)
                if chunk.has_column_index and column not in skippable:
                    telling[f"{column} (column index)"] += 1
        for column in bloom_filters(path):
            blooms[column] += 1
    check(set(telling) <= skippable, f"{name}: no footer has statistics but of {', '.join(sorted(skippable))}", set(telling) - skippable)
    check(not missing, f"{name}: readers can skip by those", missing)
    return blooms, row_groups


def bloom_filters(path):
    """Columns with a bloom filter, a row group each, as DuckDB reads the footer."""
    rows = duckdb.execute("select path_in_schema from parquet_metadata(?) where bloom_filter_offset is not null", [path]).fetchall()
    return [row[0] for row in rows]


def delta_log(name, table, delta):
    version = delta.protocol()
    check((version.min_reader_version, version.min_writer_version) == (1, 2), f"{name}: Delta reader 1, writer 2", version)
    check(not version.reader_features and not version.writer_features, f"{name}: no Delta feature that a reader must know", version)
    told = set()
    for action in log_of(table):
        statistics = json.loads(action.get("add", {}).get("stats") or "{}")
        for part in ("minValues", "maxValues", "nullCount"):
            told |= set(statistics.get(part, {}))
    check(told <= MAY_SKIP[name], f"{name}: the Delta log tells no values of other columns", told - MAY_SKIP[name])
    for path in sorted((table / "_delta_log").glob("*.checkpoint*.parquet")):
        for row in pyarrow.parquet.read_table(path, columns=["add"])["add"].to_pylist():
            statistics = json.loads((row or {}).get("stats") or "{}")
            told |= set(statistics.get("minValues", {})) | set(statistics.get("maxValues", {})) | set(statistics.get("nullCount", {}))
    check(told <= MAY_SKIP[name], f"{name}: nor does its checkpoint", told - MAY_SKIP[name])


def sketches(interactions, trends, binary, data):
    exact = collections.defaultdict(set)
    for site, visitor in zip(interactions["site"].to_pylist(), interactions["visitor_id"].to_pylist()):
        if visitor is not None:
            exact[site].add(visitor)
    unions, count = {}, 0
    dimension = trends["dimension"].to_pylist()
    shapes = set()
    for at, (site, sketch) in enumerate(zip(trends["site"].to_pylist(), trends["visitors_sketch"].to_pylist())):
        if sketch is None:
            continue
        read = hll_sketch.deserialize(sketch)
        shapes.add((read.lg_config_k, str(read.tgt_type)))
        count += 1
        if dimension[at] == "all":
            unions.setdefault(site, hll_union(12)).update(read)
    check(count > 0 and all(lg_k == 12 for lg_k, _ in shapes), f"sketches: Apache's library reads all {count}, lg k 12", shapes)
    check(set(unions) == set(exact), "sketches: sites with visitors have sketches, and no others", (set(unions), set(exact)))
    ours = {row["site"]: int(row["n"]) for row in query(binary, data,
            "select site, visitors(visitors_sketch) as n from trends where dimension = 'all' group by site order by site") if row["n"]}
    for site, union in sorted(unions.items()):
        estimate, people = union.get_estimate(), len(exact[site])
        check(abs(estimate - people) <= max(0.05 * people, 1), f"sketches: {site}: {estimate:.0f} of {people} visitors, within 5 %")
        check(abs(ours.get(site, -9) - round(estimate)) <= 1, f"sketches: {site}: visitors() says the same", (ours.get(site), estimate))
        own = hll_sketch(12, tgt_hll_type.HLL_8)
        for visitor in exact[site]:
            own.update(visitor)
        before = union.get_result(tgt_hll_type.HLL_8)
        both = hll_union(12)
        both.update(before)
        both.update(own)
        # Not the estimate: a union forgets in which order values came, and estimates a little differently.
        check(registers(both) == registers(hll_union_of(before)), f"sketches: {site}: Apache's own sketch of the ids adds nothing to ours", (both.get_estimate(), before.get_estimate()))


def hll_union_of(sketch):
    union = hll_union(12)
    union.update(sketch)
    return union


def registers(union):
    """What a union has seen, order aside: its coupons while few, its registers when many."""
    bytes_ = union.get_result(tgt_hll_type.HLL_8).serialize_compact()
    mode = bytes_[7] & 3
    if mode == 2:
        return bytes_[40:40 + 4096]
    start = 8 if mode == 0 else 12
    return sorted(bytes_[at:at + 4] for at in range(start, len(bytes_), 4))


def main():
    if len(sys.argv) != 3:
        print("usage: read.py BINARY DATA_DIR", file=sys.stderr)
        return 2
    binary, data = (str(pathlib.Path(given).resolve()) for given in sys.argv[1:])
    lake = pathlib.Path(data) / "lake"
    os.chdir(lake)  # ClickHouse opens nothing outside the working folder
    print(f"deltalake, DuckDB {duckdb.__version__}, chdb {chdb.__version__}, pyarrow {pyarrow.__version__}, {datetime.date.today()}")
    duck = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    folder = pathlib.Path(next(iter(duckdb_extension_delta.__path__)))
    extension = next(folder.rglob("delta.duckdb_extension"))
    duck.execute(f"load '{extension}'")
    duck.execute("set timezone = 'UTC'")
    held = {}
    for name in TABLES:
        table = lake / name
        delta = DeltaTable(str(table))
        try:
            held[name] = names_types_counts(name, table, delta, duck, binary, data)
            blooms, row_groups = footers(name, table)
            wanted = {"visitor_id": row_groups} if name == "interactions" else {}
            check(dict(blooms) == wanted, f"{name}: bloom filters: {wanted or 'none'}", dict(blooms))
            delta_log(name, table, delta)
        except Exception as error:  # a reader that cannot open the table is a failed check, not the end
            check(False, f"{name}: opened to the end", repr(error))
    if len(held) == len(TABLES):
        sketches(held["interactions"], held["trends"], binary, data)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
