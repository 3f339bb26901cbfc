"""A Postgres of its own for the deployments that store Dagster's records in one."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
PASSWORD = "of a test, no secret"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """The environment that names a running server on loopback with an empty database."""
    found = shutil.which("initdb") or next((str(path / "initdb") for path in PROGRAMS if path.is_dir()), None)
    if found is None:
        pytest.skip("no PostgreSQL server: initdb is neither on PATH nor in /usr/lib/postgresql")
    programs = Path(found).resolve().parent
    owner = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}  # the server refuses root
    # Not below pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="scmagnify-pg-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        password = folder / "password"
        password.write_text(PASSWORD, encoding="ascii")
        if owner:
            shutil.chown(folder, **owner)
            shutil.chown(password, **owner)
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "dagster", "-A", "scram-sha-256", "--no-sync",
             "--encoding=UTF8", "--locale=C", f"--pwfile={password}"],
            check=True, capture_output=True, cwd="/", **owner,
        )  # fmt: skip
        port = free_port()
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **owner,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, check=False).returncode:
                assert server.poll() is None, "the PostgreSQL server ended"
                assert time.monotonic() < deadline, "the PostgreSQL server is not ready"
                time.sleep(0.1)
            yield {
                "DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_PORT": str(port), "DAGSTER_PG_DB": "postgres",
                "DAGSTER_PG_USERNAME": "dagster", "DAGSTER_PG_PASSWORD": PASSWORD,
            }  # fmt: skip
        finally:
            server.terminate()  # "smart" shutdown waits for clients ...
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()  # ... who may be gone without a word; the data goes, too
                server.wait(5)
