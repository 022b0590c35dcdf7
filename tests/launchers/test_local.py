"""Jobs on this machine."""

import sys
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import open_backend

sys.path.insert(0, str(Path(__file__).parent))
from contract import Contract, Place, kill_group_of


class TestLocal(Contract):
    @pytest.fixture
    def place(self, tmp_path):
        jobs = tmp_path / "jobs"
        place = Place(
            open_backend("local", {"root": str(jobs)}),
            preempt=lambda job: kill_group_of(int((jobs / job / "pid").read_text())),
            wire=lambda: b"".join(p.read_bytes() for p in jobs.glob("*/*") if p.is_file()),
            packages=lambda: list(jobs.glob("*/package.tar.gz")),
        )
        yield place
        for pid in jobs.glob("*/supervisor"):
            if not (pid.parent / "exit_code").exists():
                kill_group_of(int(pid.read_text()))
