"""A container on a rented machine, whose command may name its folders anywhere in its text."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contract import SECOND
from rented import RentedMachine

FOLDERS = ("/gcs/", "/opt/ml/", "/kept/", "/tmp/cannabis-ml/")
"""Folders of containers: in commands and variables, those of this machine take their place."""


GRACE_SECONDS = 120


class Container(RentedMachine):
    """Runs what a provider of containers is sent."""

    def _located(self, text):
        for folder in FOLDERS:
            text = text.replace(folder, f"{self._disk}{folder}")
        return text

    def start(self):
        super().start()
        threading.Thread(target=self._stop_at_second_epoch, daemon=True).start()

    def _stop_at_second_epoch(self):
        """Let a training wait there until its machine is taken away, however late the test asks."""
        while not any(SECOND in line for _, line in list(self.lines)):
            if self.ended:
                return
            self.wait_for_more(len(self.lines))
        for process in self._commands():
            os.kill(process, signal.SIGSTOP)

    def run_out_of_time(self):
        """Tell the job to end, and end it later: SageMaker gives it two minutes."""
        self._late.set()
        self._signal(signal.SIGTERM)
        last = threading.Timer(GRACE_SECONDS, self._signal, [signal.SIGKILL])
        last.daemon = True
        last.start()

    def preempt_once_kept(self, kept):
        """Take the machine away when all that it has is kept; see `stop_once_kept`."""
        self.stop_once_kept(kept)
        self.preempt()

    def stop_once_kept(self, kept):
        """Stop the command, which could end meanwhile, and wait until its files are kept.

        Args:
            kept: File that is written anew after each copy of the files.
        """
        for process in self._commands():
            os.kill(process, signal.SIGSTOP)
        for _ in range(2):  # one copy may be going on
            stopped = time.time_ns()
            while not (kept.exists() and kept.stat().st_mtime_ns > stopped):
                time.sleep(0.02)

    def _commands(self):
        """Processes that the job's own program has started: they work on its disk."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # another's, or ended
                below = (folder / "cwd").readlink().is_relative_to(self._disk)
                if below and b"cannabis_ml.launchers" not in (folder / "cmdline").read_bytes():
                    yield int(folder.name)
