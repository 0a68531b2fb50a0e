"""Owns the large lake that reading and erasing are measured on: makes it by `benches/upkeep.rs` where it is missing.

Promises: a lake is whole or not there (a mark is written last). Never changes one that is whole.
"""
import datetime
import json
import pathlib
import shutil
import subprocess
import sys

from machine import CACHE, bench, run

# As in benches/upkeep.rs.
NEWEST = datetime.date(2026, 11, 20)
SITES = ["acme", *(f"site-{number}" for number in range(1, 10))]
DAYS = 60
BYTES_A_ROW = 80  # interactions and trends, and the same again while compacting


class Lake:
    sites = SITES

    def __init__(self, data, millions):
        self.data, self.days = data, DAYS
        self.rows, self.visitors, self.busiest = (millions * part for part in (1_000_000, 20_000, 100_000))
        self.newest, self.oldest = str(NEWEST), str(NEWEST - datetime.timedelta(self.days - 1))
        self.after_newest = str(NEWEST + datetime.timedelta(1))
        self.table = data / "lake/interactions"
        self.parquet = f"{self.table}/day=*/*.parquet"

    @classmethod
    def ready(cls, data, millions, program=None):
        """The lake of so many million rows, a tenth of them on the newest day."""
        data = data or CACHE / f"lake-{millions * 1_000_000}"
        lake, mark = cls(data, millions), data / "filled"
        size = [lake.rows, lake.visitors, lake.days, lake.busiest]
        if mark.is_file():
            if json.loads(mark.read_text()) != size:
                sys.exit(f"{data} holds another lake: give another --data")
            return lake
        if data.exists():
            sys.exit(f"{data} was begun and not finished: delete it")
        data.mkdir(mode=0o700, parents=True)
        free = shutil.disk_usage(data).free
        if free < lake.rows * BYTES_A_ROW * 2:
            sys.exit(f"{data}: {free >> 30} GiB are free, {lake.rows * BYTES_A_ROW * 2 >> 30} GiB are needed")
        print(f"making {lake.rows:,} interactions in {data}", file=sys.stderr)
        numbers = [str(number) for pair in zip(["--rows", "--visitors", "--days", "--busiest"], size) for number in pair]
        program = program or bench("upkeep")
        for step in ("fill", "compact"):
            run([program, "--bench", *numbers, "--data", data, "--only", step], stdout=sys.stderr)
        mark.write_text(json.dumps(size))
        return lake

    def told(self):
        size = sum(file.stat().st_size for file in self.table.rglob("*.parquet"))
        files = sum(1 for _ in self.table.rglob("*.parquet"))
        return f"{self.rows:,} interactions of {self.visitors:,} visitors in {self.days} days, {self.busiest:,} on the newest: {files} files, {size / 1e9:.2f} GB"

    def subjects(self, python, count):
        """So many visitors, as (site, visitor id): always the same ones."""
        sql = (f"SELECT DISTINCT site, visitor_id FROM read_parquet('{self.table}/day={self.newest}/*.parquet') "
               f"ORDER BY md5(visitor_id) LIMIT {count}")
        out = subprocess.check_output([python, "-c", f"import duckdb; duckdb.sql('SET enable_progress_bar = false'); [print(*row) for row in duckdb.sql(\"{sql}\").fetchall()]"], text=True)
        return [tuple(line.split()) for line in out.splitlines()]

    def someone(self, python):
        """The id of a visitor of the first site."""
        if not hasattr(self, "found"):
            self.found = next(visitor for site, visitor in self.subjects(python, 100) if site == SITES[0])
        return self.found
