"""Several real processes count in the same shared directory at the same time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from pingsix_asgi.ratelimit.machine import SharedCounters
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.sheet import FileSheet
from pingsix_asgi.shared.table import Table

WORKERS, HITS = 4, 3000
WORKER = """
import sys, time
from pathlib import Path
from pingsix_asgi.ratelimit.machine import SharedCounters
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.sheet import FileSheet
from pingsix_asgi.shared.table import Table
place = Place(Path(sys.argv[1]))
counters, sheet = SharedCounters(Table(place, "t")), FileSheet(place, "s")
row = sheet.row(("hits",), 1)
print("ready", flush=True)
sys.stdin.readline()
for hit in range(int(sys.argv[2])):
    counters.add(f"k{hit % 7}", 1, 3600, time.monotonic())
    sheet.cells[row] += 1
"""


def test_no_count_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(HITS)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    place = Place(tmp_path)
    table, sheet = Table(place, "t"), FileSheet(place, "s")
    counters = SharedCounters(table)
    total = sum(counters.read(f"k{n}", time.monotonic()) for n in range(7))
    assert total == WORKERS * HITS
    assert sum(numbers[0] for _, numbers in sheet.rows()) == WORKERS * HITS
    table.close()
    sheet.close()
    place.close()
