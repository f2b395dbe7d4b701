"""`make containers`: builds the image of `Containerfile` and runs `compose.yaml`, without any registry of images.

The base image is made from Debian's packages by debootstrap, and so are stand-ins for the images of PostgreSQL and
NATS. Needs root on Linux, debootstrap and Podman (Debian's packages `debootstrap podman runc catatonit netavark
aardvark-dns`), half an hour on a busy machine, and 4 GB under TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.waiting import wait_for

BASE = "docker.io/library/debian:trixie-slim"
INSTALL = "apt-get update -qq && apt-get install -y -qq --no-install-recommends"
POSTGRES = f"""
FROM {BASE}
RUN {INSTALL} postgresql >/dev/null && install -d -o postgres /run/postgresql /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
USER postgres
WORKDIR /var/lib/postgresql
RUN echo 'set -e; if [ ! -e data/PG_VERSION ]; then echo "$POSTGRES_PASSWORD" >password; \\
    initdb -D data -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=password; \\
    echo "host all all all scram-sha-256" >>data/pg_hba.conf; \\
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D data postgres; fi; exec postgres -D data -h "*"' >start
CMD ["sh", "start"]
"""
NATS = f"""
FROM {BASE}
RUN {INSTALL} nats-server >/dev/null
ENTRYPOINT ["nats-server"]
"""
STREAM = """
import asyncio, nats
from nats.js.api import StreamConfig

async def messages():
    connection = await nats.connect("nats://nats:4222")
    stream = StreamConfig(name="OPERATIONS_REPORTS", subjects=["operations.reports.>"], duplicate_window=7200)
    made = await connection.jetstream().add_stream(stream)
    await connection.close()
    print(made.state.messages)

asyncio.run(messages())
"""
"""Makes the stream of docs/connect.md where it is not there yet, and says how many messages are in it."""
RUNS = "{ runsOrError { ... on Runs { results { jobName status } } } }"
OURS = ("code", "daemon", "webserver")
ADDRESS = "http://127.0.0.1:3000"


class Host:
    """A Podman with a store of its own, and the project's compose file in it."""

    def __init__(self, folder: Path, compose: str) -> None:
        self._folder, self._compose = folder, compose
        self._podman = folder / "podman"
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        (folder / "containers.conf").write_text(
            f'[containers]\ndefault_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]\n'
        )
        store = f"--root {folder}/store --runroot {folder}/run --cgroup-manager cgroupfs"
        oci = "--runtime runc" if shutil.which("runc") else ""  # crun refuses both kinds of cgroups at once
        self._podman.write_text(
            f"#!/bin/sh\nexport CONTAINERS_CONF={folder}/containers.conf BUILDAH_ISOLATION=chroot\n"
            f'exec podman {store} {oci} "$@"\n'
        )
        self._podman.chmod(0o755)
        stand_ins = {"services": {name: {"image": f"localhost/{name}"} for name in ("postgres", "nats")}}
        (folder / "stand-ins.yaml").write_text(json.dumps(stand_ins))

    def podman(self, *arguments: str, **more: Any) -> str:
        """What a command of Podman prints; raises with its words where it fails."""
        done = subprocess.run(
            [str(self._podman), *arguments], capture_output=True, text=True, check=False, **more
        )
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(arguments[:3])}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return done.stdout

    def compose(self, *arguments: str) -> None:
        """A command of podman-compose on `compose.yaml`, with the stand-ins' images."""
        files = ("-f", str(PROJECT / "compose.yaml"), "-f", str(self._folder / "stand-ins.yaml"))
        subprocess.run(
            [self._compose, "--podman-path", str(self._podman), *files, *arguments],
            env={**os.environ, "ET_POSTGRES_PASSWORD": "no-secret"},
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )

    def inside(self, service: str, *command: str) -> str:
        """What a command prints in the container of a service."""
        return self.podman("exec", f"experimenttracker_{service}_1", *command)

    def complaint(self) -> str:
        """The ends of the logs of all our services."""
        logs = {name: self.podman("logs", "--tail", "20", f"experimenttracker_{name}_1") for name in OURS}
        return "\n".join(f"{name}: {text}" for name, text in logs.items())

    def build_images(self) -> None:
        """The base from Debian's packages, our image on it, and the stand-ins."""
        root = self._folder / "debian"
        subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], check=True, capture_output=True)
        certificates = os.environ.get("SSL_CERT_FILE")  # of a proxy that this machine is behind
        if certificates:
            trusted = root / "usr/local/share/ca-certificates/machine.crt"
            trusted.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(certificates, trusted)
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
            self.podman("import", "-", BASE, stdin=archive.stdout)
        shutil.rmtree(root)
        self.podman("build", "-t", "experimenttracker", "-f", str(PROJECT / "Containerfile"), str(PROJECT))
        for name, text in (("postgres", POSTGRES), ("nats", NATS)):
            (self._folder / name).mkdir()
            (self._folder / name / "Containerfile").write_text(text)
            self.podman("build", "-t", name, str(self._folder / name))


@contextmanager
def running(host: Host) -> Iterator[None]:
    """The services of `compose.yaml`; their volumes stay."""
    host.compose("up", "-d", "--no-build")
    try:
        yield
    finally:
        host.compose("down")


def verdict(host: Host) -> str | None:
    """Of the one experiment, None before there is one."""
    try:
        found = json.loads(host.inside("code", "et", "status", "--json"))
    except RuntimeError:  # nothing is published yet
        return None
    return next((row["verdict"] for row in found["experiments"] if row["verdict"]), None)


def runs() -> list[dict[str, str]]:
    """All runs, as the web server tells them."""
    try:
        answer = requests.post(f"{ADDRESS}/graphql", json={"query": RUNS}, timeout=30)
    except requests.RequestException:
        return []
    found: list[dict[str, str]] = answer.json()["data"]["runsOrError"]["results"] if answer.ok else []
    return found


def check_locked_down(host: Host) -> None:
    """No service of ours is root, holds a capability, or can write anything but its volume and `/tmp`."""
    for name in OURS:
        assert host.inside(name, "id", "-u").strip() == "10001", name
        told = host.inside(
            name, "sh", "-c", "touch /written /opt/et/written 2>&1; grep CapEff /proc/1/status"
        )
        assert told.count("Read-only file system") == 2, told
        assert told.split()[-1].strip("0") == "", told


def check_work(host: Host) -> None:
    """Reports in the volume lead to a verdict, and its messages to the bus, by the daemon alone."""
    wait_for(lambda: runs() is not None and host.inside("code", "python3", "-c", STREAM), 120, host.complaint)
    host.inside("code", "et", "generate", "/data", "--uplift", "edge_bps=8", "--opportunities", "2000")
    wait_for(lambda: verdict(host) == "variant_better", 900, host.complaint, pause=5)
    wait_for(lambda: int(host.inside("code", "python3", "-c", STREAM)) >= 2, 600, host.complaint, pause=5)
    wait_for(lambda: any(run["jobName"] == "collect" for run in runs()), 300, host.complaint, pause=5)
    failed = [run for run in runs() if run["status"] == "FAILURE"]
    assert not failed, f"{failed}; {host.complaint()}"
    for name in ("code", "postgres"):
        host.podman("healthcheck", "run", f"experimenttracker_{name}_1")


def main(compose: str) -> None:
    """Builds, runs, looks, and runs again from the volumes."""
    missing = [name for name in ("debootstrap", "podman", "tar") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        sys.exit(f"needs root, and these programs, of which some are not there: {missing}")
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="et-containers-") as folder:
        host = Host(Path(folder), compose)
        try:
            host.build_images()
            say("the image is built")
            with running(host):
                check_work(host)
                say("reports became a verdict, and its messages are on the bus")
                check_locked_down(host)
                say("no service is root, has a capability or can write outside its volume and /tmp")
            with running(host):
                wait_for(lambda: verdict(host) == "variant_better", 120, host.complaint, pause=2)
                wait_for(runs, 300, host.complaint, pause=2)
                say("started again from its volumes, it knows what it knew")
        finally:
            host.podman("system", "reset", "--force")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--compose", default="podman-compose", help="where podman-compose is")
    main(arguments.parse_args().compose)
