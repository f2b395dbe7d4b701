"""A PostgreSQL server and "machines": processes with a disk and, where it is allowed, a network of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

PASSWORD = "no-secret"
"""Of a database server that lives for one test."""
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@dataclass
class Machine:
    """One machine of a deployment.

    Attributes:
        folder: Its disk.
        address: Where the others reach it.
        enter: What runs a command on it.
        environment: What its processes see.
    """

    folder: Path
    address: str
    enter: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a process on it, in a session of its own; it writes into the machine's log."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self.enter, *arguments],
                cwd=self.folder,
                env={"PATH": PATH, "HOME": str(self.folder), **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        """The end of what its processes wrote."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL) -> None:
    """Ends a process of `Machine.start` and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    process.wait(30)


@contextmanager
def machines(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, list[Machine]]]:
    """Machines with a folder each, and the address at which they reach this process's servers.

    As root on Linux each gets a network namespace and does not see the others' folders; so nothing is shared
    by accident. Elsewhere they are processes with separate folders.
    """
    for name in names:
        (folder / name).mkdir()
    if os.geteuid() != 0 or not shutil.which("ip") or not _namespaces_work():
        yield "127.0.0.1", [Machine(folder / name, "127.0.0.1") for name in names]
        return
    number = os.getpid() % 60_000
    bridge, net = f"et{number}", f"10.{200 + number % 50}.{number % 250}"
    with ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made = []
        for place, name in enumerate(names, 2):
            space, cable = f"{bridge}-{name}", f"{bridge}-{place}"
            _ip("netns", "add", space)
            undo.callback(_ip, "netns", "delete", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", bridge, "up")
            for command in ("address add {} dev eth0", "link set eth0 up", "link set lo up"):
                _ip("-netns", space, *command.format(f"{net}.{place}/24").split())
            hide = "; ".join(f"mount -t tmpfs none {folder / other}" for other in names if other != name)
            enter = ("ip", "netns", "exec", space, "sh", "-ec", f'{hide}; exec "$@"', "sh")
            made.append(Machine(folder / name, f"{net}.{place}", enter))
        yield f"{net}.1", made


def _namespaces_work() -> bool:
    name = f"et-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode == 0:
        _ip("netns", "delete", name)
    return tried.returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def postgres_binaries() -> Path | None:
    """Where `initdb` and `postgres` are: on the path, or where Debian puts them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def postgres(binaries: Path, address: str) -> Iterator[int]:
    """A PostgreSQL server of its own with the empty database `dagster`; yields its port.

    It refuses to run as root, so root starts it as somebody else.
    """
    import psycopg2

    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="et-postgres-") as folder:
        if user:
            shutil.chown(folder, user)
        data, password = Path(folder) / "data", Path(folder) / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                binaries / "initdb",
                "-D",
                data,
                "-U",
                "et",
                "-A",
                "scram-sha-256",
                f"--pwfile={password}",
                "-N",
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd=folder,
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
        port = free_port()
        options = ["-p", str(port), "-h", address, "-k", "", "-F"]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for patience in reversed(range(100)):
                try:
                    connection = psycopg2.connect(
                        host=address, port=port, user="et", password=PASSWORD, dbname="postgres"
                    )
                    break
                except psycopg2.OperationalError:
                    if not patience or server.poll() is not None:
                        raise
                    time.sleep(0.1)
            connection.autocommit = True
            connection.cursor().execute("CREATE DATABASE dagster")
            connection.close()
            yield port
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def impatient(text: str, patience_s: int = 120) -> str:
    """The same `dagster.yaml`, looking oftener at its queue and runs, so that a test is shorter.

    Args:
        text: The file.
        patience_s: How long a code server that gives no answer is waited for.
    """
    settings = yaml.safe_load(text)
    settings["run_monitoring"]["poll_interval_seconds"] = 3
    settings["run_launcher"]["config"] = {"patience_seconds": patience_s}
    queue = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    coordinator = settings.setdefault("run_coordinator", queue)
    coordinator.setdefault("config", {})["dequeue_interval_seconds"] = 1
    return yaml.safe_dump(settings)
