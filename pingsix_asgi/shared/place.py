"""A worker's place in the shared directory: it writes the files with its number, reads the rest.

The place is held by a lock that the kernel drops when the process dies, so the next worker takes
over number and files. Nobody ever waits for it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

MAX_WORKERS = 256
"""Places in one directory; more workers than that on one machine are a mistake in a setting."""
DIRECTORY_VARIABLE = "PINGSIX_SHARED_DIR"
"""Environment variable that makes the workers of one machine share; ``run --workers`` sets it."""


class Place:
    """One number in ``directory``, held until ``close``. Raises OSError if none is free."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        for number in range(MAX_WORKERS):
            lock = os.open(directory / f"worker-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self._lock = lock
            self.number = number
            return
        raise OSError(f"{directory}: all {MAX_WORKERS} places are taken")

    def file(self, kind: str) -> Path:
        """Return the path of this worker's file of one kind."""
        return self.directory / f"{kind}-{self.number}.slab"

    def others(self, kind: str) -> Iterator[Path]:
        """Yield the files of that kind that other workers write or wrote."""
        own = self.file(kind)
        for path in sorted(self.directory.glob(f"{kind}-*.slab")):
            if path != own:
                yield path

    def close(self) -> None:
        """Give the place back."""
        os.close(self._lock)


def shared_directory() -> Path | None:
    """Return the directory the environment names, or None: this process shares with nobody."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return Path(directory) if directory else None
