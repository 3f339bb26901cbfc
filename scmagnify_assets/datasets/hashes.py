"""Hashes of files, remembered for large ones.

Several steps of several processes ask for the hash of the same file, which may be tens of gigabytes. A large file
is read again only if its size, times or inode changed; small ones are read each time. What is remembered lies
beside the lake's tables and can be deleted at any time.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.data.reading import file_sha256

LARGE_BYTES = 64 * 2**20


def remembered_sha256(path: Path, lake: Lakehouse) -> str:
    """Hash of a file's content; of a large file that did not change since, as remembered.

    Raises
    ------
    InputError
        The file is not there.
    """
    if not path.is_file() or path.stat().st_size < LARGE_BYTES:
        return file_sha256(path)
    note = lake.root / ".hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()}.json"
    state = _state(path)
    with suppress(OSError, ValueError, KeyError):
        remembered = json.loads(note.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["sha256"])
    found = file_sha256(path)
    if _state(path) == state:  # not written to meanwhile
        with suppress(OSError):  # a lake that cannot be written remembers nothing
            note.parent.mkdir(exist_ok=True)
            temporary = note.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps({"path": str(path), "state": state, "sha256": found}), encoding="utf-8")
            temporary.replace(note)
    return found


def _state(path: Path) -> list[int]:
    """What changes when a file changes. The change time (ctime) cannot be set back by copying with times preserved."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]
