"""Places, tables and sheets: what workers leave behind and find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pingsix_asgi.shared import table as table_module
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.sheet import MAX_CELLS, FileSheet, MemorySheet
from pingsix_asgi.shared.table import SLOTS, Slab, Table, hash_key


def test_places_are_taken_one_each_and_given_back(tmp_path: Path) -> None:
    first, second = Place(tmp_path), Place(tmp_path)
    assert (first.number, second.number) == (0, 1)
    first.close()
    third = Place(tmp_path)
    assert third.number == 0
    third.close()
    second.close()


def test_a_killed_process_frees_its_place_and_leaves_its_numbers(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from pingsix_asgi.shared.place import Place;"
        "from pingsix_asgi.shared.table import Table;"
        "from pingsix_asgi.shared.sheet import FileSheet;"
        "place = Place(Path(sys.argv[1])); Table(place, 't').own.put(5, 7, 2**60);"
        "sheet = FileSheet(place, 's'); sheet.cells[sheet.row(('a', 'b'), 2)] += 1.5;"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    place = Place(tmp_path)
    assert place.number == 0
    table, sheet = Table(place, "t"), FileSheet(place, "s")
    assert table.own.cells[table.own.find(5, 0) + 2] == 7
    row = sheet.row(("a", "b"), 2)
    assert row is not None
    sheet.cells[row] += 1
    assert list(sheet.rows()) == [(("a", "b"), [2.5, 0.0])]
    table.close()
    sheet.close()
    place.close()


def test_a_slab_of_an_earlier_boot_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.slab"
    slab = Slab(path, writable=True)
    slab.put(5, 7, 2**60)
    slab.close()
    monkeypatch.setattr(table_module, "_boot", lambda: 99)
    with pytest.raises(ValueError, match="not a slab of this boot"):
        Slab(path, writable=False)
    slab = Slab(path, writable=True)
    assert slab.find(5, 0) == -1
    slab.close()


def test_a_full_neighbourhood_gives_up_what_ends_first(tmp_path: Path) -> None:
    slab = Slab(tmp_path / "t.slab", writable=True)
    keys = [3 + SLOTS * n for n in range(9)]  # all want the same slot
    for n, key in enumerate(keys):
        slab.put(key, n, 1000 + n)
    assert slab.find(keys[0], 0) == -1
    assert [slab.cells[slab.find(key, 0) + 2] for key in keys[1:]] == list(range(1, 9))
    assert slab.find(keys[1], 1001) == -1
    slab.close()


def test_key_hashes_are_stable_positive_and_differ() -> None:
    hashes = {hash_key(f"routes/1:{n}") for n in range(1000)}
    assert len(hashes) == 1000
    assert min(hashes) > 0
    assert max(hashes) < 2**63
    assert hash_key("a") == hash_key("a")
    hash_key("\udcff")


def test_sheets_give_each_name_its_cells_until_they_are_full(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for sheet in (MemorySheet(), FileSheet(place, "s")):
        assert [sheet.row(("a",), 2), sheet.row(("b", "x\n"), 1), sheet.row(("a",), 2)] == [0, 2, 0]
        sheet.cells[2] += 4
        assert list(sheet.rows()) == [(("a",), [0.0, 0.0]), (("b", "x\n"), [4.0])]
        assert sheet.row(("huge",), MAX_CELLS) is None
        sheet.close()
    place.close()


def test_sheets_of_other_workers_are_read_and_unfinished_names_ignored(tmp_path: Path) -> None:
    places = [Place(tmp_path), Place(tmp_path)]
    sheets = [FileSheet(place, "s") for place in places]
    for number, sheet in enumerate(sheets, 1):
        start = sheet.row(("n",), 1)
        assert start is not None
        sheet.cells[start] += number
    with (tmp_path / "s-1.names").open("ab") as names:
        names.write(b'[1, "unfin')
    assert sorted(sheets[0].rows()) == [(("n",), [1.0]), (("n",), [2.0])]
    sheets[1].close()
    again = FileSheet(places[1], "s")
    assert again.row(("m",), 1) == 1
    assert os.path.getsize(tmp_path / "s-1.names") == len('[1, "n"]\n[1, "m"]\n')
    again.close()
    sheets[0].close()
    for place in places:
        place.close()
