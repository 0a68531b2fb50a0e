"""Owns what every measuring command does besides measuring: installs, builds, reads what a process used up,
says what was measured where, and records it.

Knows Debian's apt, cargo, pip and /proc. Standard library only. Never measures itself.
"""
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/performance.md"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "clearpixel"
TICKS = os.sysconf("SC_CLK_TCK")


def run(command, **options):
    subprocess.run(command, check=True, **options)


def installed(*programs):
    """Installs what is missing of (program, Debian package)."""
    for program, package in programs:
        if not shutil.which(program):
            run(["apt-get", "update", "-qq"])
            run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package])


def readers():
    """The Python with the readers that are not ours, pinned, in an environment of its own."""
    wanted = pathlib.Path(__file__).with_name("readers.txt")
    folder = CACHE / "measure-venv"
    mark = folder / "installed"
    if not mark.is_file() or mark.read_text() != wanted.read_text():
        venv.create(folder, with_pip=True, clear=True)
        run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", wanted])
        mark.write_text(wanted.read_text())
    return folder / "bin/python"


def built():
    """The release binary."""
    run(["cargo", "build", "--release", "--quiet"], cwd=ROOT)
    target = json.loads(subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT))["target_directory"]
    return f"{target}/release/clearpixel"


def bench(name):
    """The program of a bench, with release optimisation."""
    messages = subprocess.check_output(["cargo", "bench", "--quiet", "--no-run", "--bench", name, "--message-format", "json"], cwd=ROOT, text=True)
    found = (json.loads(line) for line in messages.splitlines())
    return next(message["executable"] for message in found if message.get("executable") and message["target"]["name"] == name)


def cpu_of(pids):
    """User and system seconds of all threads."""
    user = system = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICKS, system / TICKS


def peak_of(pids):
    """MiB, the most that was resident at once."""
    return sum(int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) for pid in pids) / 1024


class Used:
    """What a command used up: seconds, CPU seconds, MiB at the peak; and what it printed."""

    def __init__(self, command, **options):
        import time
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
        self.printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024
        if process.returncode:
            sys.exit(f"{command[0]} ended with {process.returncode}: {self.printed[-2000:]}")


def here(also=""):
    """Commit and machine."""
    commit = subprocess.check_output(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True).strip()
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"Commit {commit}; {os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, {memory:.0f} GiB, Linux {platform.release()}{also}"


def record(title, text):
    with open(DOCUMENT, "a") as document:
        document.write(f"\n## {title}, measured {datetime.date.today()}\n\n{text}\n")
