"""Files outside of the lake that appear whole or not at all, and what is said where they cannot.

A killed writer leaves a hidden folder beside the place, whose name ends in ``.part``.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scmagnify_core.errors import InputError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_whole(path: Path, suffix: str) -> Iterator[Path]:
    """A path to write to, ending in ``suffix``; it takes the place of ``path`` once all of it is on the disk.

    Raises
    ------
    InputError
        The file system does not take it; what was at ``path`` is still there.
    """
    with staging(path) as staged:
        temporary = staged / f"file{suffix}"
        yield temporary
        sync(temporary)
        temporary.replace(path)


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """An empty folder on the file system of ``path``, to be renamed or emptied; gone afterwards.

    Raises
    ------
    InputError
        The file system does not take what is written there.
    """
    refuse_missing_folder(path)
    place = path if path.is_dir() else path.parent
    try:
        # A folder within: its own mode is private, and what is made in it is as the user's other files.
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:50]}.", suffix=".part", dir=place) as private:
            staged = Path(private) / "staged"
            staged.mkdir()
            yield staged
            sync(place)
    except OSError as error:
        raise _cannot_write(path, place, error) from error


def _cannot_write(path: Path, place: Path, error: OSError) -> InputError:
    reason = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0][:160]
    free = shutil.disk_usage(place).free
    if error.errno in NO_SPACE:
        return InputError(
            f"'{path}'", f"could not be written ({reason}); {free:,} bytes are free there. Nothing was left behind.",
            "Free some space, or choose a place on another disk.",
        )  # fmt: skip
    return InputError(f"'{path}'", f"cannot be written ({reason}).", "Choose a folder that you may write to.")


def refuse_missing_folder(path: Path) -> None:
    """Raise an `InputError` if ``path`` would lie in a folder that is not there."""
    if not path.parent.is_dir():
        raise InputError(
            f"'{path}'", f"there is no folder '{path.parent}'.", "Make it first, or choose another place."
        )


def sync(*paths: Path) -> None:
    """Force files and folders to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
