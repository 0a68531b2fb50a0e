"""Owns the servers that are driven and the driving: nginx and clearpixel on one core, wrk on the other.

Promises: CPU is that of all threads (`/proc/PID/stat`), and clearpixel's is counted until its journal is in the
lake; latency is wrk's. Every clearpixel has the same secret, so that a visitor's cookie is good for each.
"""
import collections
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from machine import cpu_of, peak_of

HERE = pathlib.Path(__file__).resolve().parent
SERVER_CORE, LOAD_CORE = "0", "1"
SECRET = random.Random(1).randbytes(32)
# For a `Clearpixel` that flushes nothing: neither by time nor by number of rows.
UNFLUSHED = {"flush_after": 86_400, "lake": "flush_rows = 100000000\n"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def asked(self, requests, connections, seconds, seed, words=()):
        """Has wrk ask the server; what wrk saw. `words`: see ops/load.lua."""
        scheme = "https" if self.tls else "http"
        out = subprocess.check_output(
            ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", HERE / "load.lua",
             f"{scheme}://127.0.0.1:{self.port}/", "--", requests, str(seed), *map(str, words)], text=True)
        figures = json.loads(out.splitlines()[-1])
        if figures["refused"] or figures["broken"]:
            print(f"{self.name}: {figures['refused']} answers were no 2xx, {figures['broken']} connections broke", file=sys.stderr)
        return figures

    def driven(self, requests, connections, seconds, seed, words=()):
        """Drives the server and says what a hit took, with all its work."""
        before = cpu_of(self.pids())
        figures = self.asked(requests, connections, seconds, seed, words)
        self.settle()
        user, system = (after - start for start, after in zip(before, cpu_of(self.pids())))
        hits = figures["hits"]
        return {"user": user / hits * 1e6, "system": system / hits * 1e6, "cpu": (user + system) / hits * 1e6,
                "hits": hits, "rate": hits / figures["micros"] * 1e6, **{name: figures[name] / 1e3 for name in ("p50", "p99", "p999")}}

    def threads(self):
        """CPU seconds of each kind of thread (`worker`, `flush`, …), by the scheduler: to the microsecond, where `/proc/PID/stat`
        counts hundredths of a second."""
        used = collections.Counter()
        for pid in self.pids():
            for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
                used[(thread / "comm").read_text().strip().split("-")[0]] += int((thread / "schedstat").read_text().split()[0]) / 1e9
        return used

    def peak(self):
        return peak_of(self.pids())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Nginx(Server):
    """`empty_gif` and one unbuffered line a hit; nothing else that costs."""
    name = "nginx"

    def __init__(self, folder, tls):
        self.tls, self.port, self.log = tls, free_port(), folder / "access.log"
        secure = f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;" if tls else ""
        settings = folder / "nginx.conf"
        settings.write_text(f"""
            daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user {'root' if os.getuid() == 0 else os.environ.get('USER', 'nobody')};
            events {{ worker_connections 4096; }}
            http {{
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                keepalive_requests 1000000000; tcp_nodelay on; server_tokens off; {secure}
                server {{
                    listen 127.0.0.1:{self.port} {'ssl' if tls else ''};
                    location = /p.gif {{ empty_gif; access_log {self.log} combined; }}
                }}
            }}""")
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, "nginx", "-c", settings], stderr=subprocess.DEVNULL)
        awaited(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() or True)

    def pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def settle(self):
        os.truncate(self.log, 0)

    def told(self):
        return {"peak": self.peak()}


class Clearpixel(Server):
    def __init__(self, folder, name, binary, durability="process", tls=False, flush_after=5, sites=("acme",), data=None, lake="", cores=SERVER_CORE):
        """`lake`: more lines of the settings' `[lake]`."""
        self.name, self.tls, self.port, self.admin = name, tls, free_port(), free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.data = data = data or self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        (data / "secret").write_bytes(SECRET)
        secure = f'[door.tls]\ncertificate = "{folder}/cert.pem"\nprivate_key = "{folder}/key.pem"\n' if tls else ""
        settings = self.folder / "settings.toml"
        settings.write_text(
            f'data_dir = "{data}"\n[door]\nlisten = "127.0.0.1:{self.port}"\nadmin_listen = "127.0.0.1:{self.admin}"\nworkers = 1\n'
            f'trusted_proxies = ["127.0.0.0/8"]\n{secure}[journal]\ndurability = "{durability}"\n[lake]\nflush_after = "{flush_after}s"\n'
            f'{lake}' + "".join(f'[[site]]\nkey = "{site}"\norigins = ["https://shop.example"]\n' for site in sites))
        self.command = ["taskset", "-c", cores, binary, "serve", "--config", settings]
        self.log = open(self.folder / "log", "wb")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        try:
            awaited(self.is_ready, 0.01)
        except BaseException:
            self.kill()
            raise

    def kill(self):
        """As a crash does: what is in the journal stays there."""
        self.process.kill()
        self.process.wait()

    def is_ready(self):
        if self.process.poll() is not None:
            sys.exit(f"{self.name} did not start: {(self.folder / 'log').read_text()[-2000:]}")
        return self.metrics()["clearpixel_ready"] == 1

    def pids(self):
        return [self.process.pid]

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def settle(self):
        """Until every row that was acknowledged is in the lake. The folder is looked at, for to be asked for the metrics of
        10,000 sites every half second is work that no hit makes."""
        awaited(lambda: not any(file.stat().st_size for file in (self.data / "journal").iterdir()), 0.5)
        awaited(lambda: self.metrics()["clearpixel_journal_bytes"] == 0, 0.5)

    def told(self):
        metrics = self.metrics()
        ends = {re.search(r'outcome="(\w+)"', name)[1]: value for name, value in metrics.items() if name.startswith("clearpixel_hits_total")}
        if ends.get("stored", 0) != metrics["clearpixel_lake_rows_total"]:
            sys.exit(f"{self.name}: {ends.get('stored')} stored, {metrics['clearpixel_lake_rows_total']} in the lake")
        whole = sum(ends.values())
        return {"peak": self.peak(), "row": metrics["clearpixel_lake_bytes_total"] / max(metrics["clearpixel_lake_rows_total"], 1),
                "ends": {name: value / whole for name, value in ends.items()}}


def awaited(look, pause=0.05, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if look():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit("a server did not come to what was awaited")
        time.sleep(pause)
