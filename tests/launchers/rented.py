"""A machine of a provider: runs a command in attempts over the same folders."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contract import SECOND, kill_group_of

PASSED_ON = ("PATH", "LANG", "OMP_WAIT_POLICY")
"""Variables of these tests that a job has; all else it gets from its provider."""

DISKS = ("/job", "/tmp/job")
"""Paths that jobs use. In arguments and variables, this machine's take their place."""


class RentedMachine:
    """One job at a provider, each attempt a group of processes with an empty disk.

    Args:
        command: Program and arguments.
        variables: Variables of the job.
        mounts: `{path of the job: file or folder of this machine}`; these survive.
        home: Folder for the disk and the home of the job.
        attempts: How often it may be started when it fails.
        seconds: After how many of one attempt it is to be ended; `run_out_of_time` tells when they
            are over, as these tests run on machines of any speed.
        free_preemptions: Whether a machine that is taken away counts as no attempt.

    Attributes:
        lines: `(time in nanoseconds, line)` of its output so far.
        phase: `queued`, `running`, `succeeded`, `failed`, `cancelled` or `timeout`.
        attempt: Number of the latest attempt, from 1.
    """

    def __init__(
        self,
        command,
        variables,
        mounts,
        home,
        attempts=1,
        seconds=None,
        free_preemptions=False,
    ):
        self._disk, self._home, self._mounts = home / "disk", home / "home", mounts
        self._command = [self._located(part) for part in command]
        self._variables = {name: self._located(text) for name, text in variables.items()}
        self._attempts, self.seconds, self._free = attempts, seconds, free_preemptions
        self.lines, self.phase, self.exit_code, self.attempt = [], "queued", None, 0
        self._process, self._taken, self._cancelled = None, False, False
        self._changed, self._late = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _located(self, text):
        on_disk = any(text == path or text.startswith(f"{path}/") for path in DISKS)
        return f"{self._disk}{text}" if on_disk else text

    def start(self):
        self._thread.start()
        threading.Thread(target=self._stop_at_second_epoch, daemon=True).start()

    def _stop_at_second_epoch(self):
        """Let a training wait there until its machine is taken away, however late the test asks."""
        seen = 0
        while not self.ended:
            self.wait_for_more(seen)
            new = self.lines[seen:]
            seen += len(new)
            if any(SECOND in line for _, line in new):
                for process in self._commands():
                    os.kill(process, signal.SIGSTOP)
                return

    @property
    def ended(self):
        return self.phase not in ("queued", "running")

    def wait_for_more(self, lines):
        """Until there are more lines than this, or it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or len(self.lines) > lines)

    def preempt(self, number=signal.SIGKILL):
        """Take the machine away, without a warning or with one."""
        self._taken = True
        self._signal(number)

    def cancel(self, number=signal.SIGTERM):
        """Tell the job to end, and do not start it again."""
        self._cancelled = True
        self._signal(number)

    def run_out_of_time(self):
        """End the job as if its time were over."""
        self._late.set()
        self._signal(signal.SIGKILL)

    def path(self, place):
        """Where a path of the job is on this machine."""
        return self._disk / place.lstrip("/")

    def close(self):
        self._cancelled = True
        self._signal(signal.SIGKILL)
        self._thread.join()

    def preempt_once_kept(self, kept):
        """Take the machine away when all that it has is kept; see `stop_once_kept`."""
        self.stop_once_kept(kept)
        self.preempt()

    def stop_once_kept(self, kept):
        """Stop the command, which could end meanwhile, and wait until its files are kept.

        Args:
            kept: File that is written anew after each copy of the files.
        """
        while not self._stopped_and_kept(kept):
            # Stopped in the middle of writing to a database, which no copy gets past.
            self._signal_commands(signal.SIGCONT)
            time.sleep(0.1)

    def _stopped_and_kept(self, kept, looks=250):
        self._signal_commands(signal.SIGSTOP)
        for _ in range(2):  # one copy may be going on
            stopped = time.time_ns()
            while not (kept.exists() and kept.stat().st_mtime_ns > stopped):
                assert not self.ended, self.lines[-20:]
                looks -= 1
                if not looks:
                    return False
                time.sleep(0.02)
        return True

    def _signal_commands(self, number):
        for process in self._commands():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _commands(self):
        """Processes that the job's own program has started: they work on its disk."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # another's, or ended
                below = (folder / "cwd").readlink().is_relative_to(self._disk)
                if below and b"cannabis_ml.launchers" not in (folder / "cmdline").read_bytes():
                    yield int(folder.name)

    def _signal(self, number):
        if self._process is None or self._process.poll() is not None:
            return
        if number == signal.SIGKILL:
            commands = list(self._commands())  # may have been stopped, or forked off elsewhere
            kill_group_of(self._process.pid)
            for process in commands:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        else:
            os.kill(self._process.pid, number)

    def _run(self):
        failures = 0
        while True:
            self.attempt += 1
            self._taken = False
            code = self._once()
            failures += not (self._taken and self._free)
            if self._cancelled:
                return self._end("cancelled", code)
            if code == 0:
                return self._end("succeeded", code)
            if code is None:
                return self._end("timeout", code)
            if failures >= self._attempts:
                return self._end("failed", code)

    def _end(self, phase, code):
        with self._changed:
            self.exit_code, self.phase = code, phase
            self._changed.notify_all()

    def _once(self):
        """Run the command once; returns its exit code, None where it took too long."""
        self._empty_disk()
        given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._process = subprocess.Popen(
            self._command,
            cwd=self._home,
            env=given | {"HOME": str(self._home), "TMPDIR": str(self._home)} | self._variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.phase = "running"
        if self._cancelled or self._late.is_set():
            self._signal(signal.SIGKILL)
        for line in self._process.stdout:
            with self._changed:
                self.lines.append((time.time_ns(), line.rstrip("\n")))
                self._changed.notify_all()
        code = self._process.wait()
        return None if self._late.is_set() else code

    def _empty_disk(self):
        for folder in (self._disk, self._home):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for place, target in self._mounts.items():
            here = self.path(place)
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(target) if target.is_dir() else shutil.copyfile(target, here)
