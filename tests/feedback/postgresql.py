"""A private PostgreSQL server: started for the tests, reached by a socket, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, create_engine

INSTALLED = "/usr/lib/postgresql"


def programs():
    """Folder of `initdb` and `postgres`; None where they are not installed."""
    versions = sorted(Path(INSTALLED).glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which("initdb")
    return Path(found).parent if found else None


def install():
    """Debian's package, on a machine of continuous integration where that is allowed.

    Returns why not, or None.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get") or not os.environ.get("CI"):
        return "PostgreSQL is not installed: apt-get install postgresql"
    command = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"apt-get install postgresql: {done.stderr[-200:]}"


def _user():
    """PostgreSQL refuses to run as root: whose it is then."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@contextmanager
def server(durable=False, parent=None):
    """Gives `url(database)`, a function, of a running server.

    Args:
        durable: Wait for the disk at every commit, as a real server does.
        parent: Where its folder lies.
    """
    folder, user = Path(tempfile.mkdtemp(prefix="cannabis_ml_pg_", dir=parent)), _user()
    run_as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    if os.geteuid() != 0:
        run_as = {}
    os.chown(folder, user.pw_uid, user.pw_gid)
    environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
    quiet = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, **run_as}
    process = None
    try:
        log = (folder / "log").open("w")
        data = str(folder / "data")
        make = [programs() / "initdb", "-D", data, "-A", "trust", "-U", "feedback", "-E", "UTF8"]
        subprocess.run([*make, "--no-sync"], check=True, stderr=log, **quiet)
        options = {"listen_addresses": "", "unix_socket_directories": folder}
        if not durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [programs() / "postgres", "-D", data, *given], stderr=log, **quiet
        )
        _wait(folder, process)
        yield lambda name: f"postgresql://feedback@/{name}?host={folder}"
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # does not wait for clients that are still there
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def engine(url):
    """To administer a server: every statement is its own transaction, no connection stays."""
    url = url.replace("postgresql:", "postgresql+psycopg:")
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)


def _wait(folder, process):
    ready = [programs() / "pg_isready", "-q", "-h", folder, "-d", "postgres", "-U", "feedback"]
    while subprocess.run(ready, check=False).returncode != 0:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
