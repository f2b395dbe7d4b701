"""The service files of docs/production.md: systemd accepts them, and what they start is installed with the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from et_pipeline_tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "production.md").read_text(encoding="utf-8")
UNITS = dict(re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_accepts_the_service_files(tmp_path: Path) -> None:
    assert sorted(UNITS) == ["experimenttracker-daemon.service", "experimenttracker-web.service"]
    for name, text in UNITS.items():
        here = text.replace("/srv/et/.venv", sys.prefix).replace("/srv/et", str(PROJECT))
        (tmp_path / name).write_text(here, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
