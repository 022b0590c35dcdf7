"""A container on a rented machine, whose command may name its folders anywhere in its text."""

import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
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

    def run_out_of_time(self):
        """Tell the job to end, and end it later: SageMaker gives it two minutes."""
        self._late.set()
        self._signal(signal.SIGTERM)
        last = threading.Timer(GRACE_SECONDS, self._signal, [signal.SIGKILL])
        last.daemon = True
        last.start()
