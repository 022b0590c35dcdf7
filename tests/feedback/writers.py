"""Many writers of one store, some of them killed: each is a process of its own."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission

LABELS = ("plant", "trim", "hash")


def submission(writer, number):
    """What a writer sends as its n-th: its own person and key, so none repeats another."""
    given = {
        "key": f"w{writer}-{number}",
        "person": f"person-{writer}-{number % 7}",
        "at": f"2026-05-01T12:{number // 60 % 60:02}:{number % 60:02}Z",
        "consent": True,
        "answered": {
            "bundle_id": "bundle-1",
            "tier": "tier1",
            "heads": {"product": {"label": "extract", "confidence": 0.5}},
        },
        "opinions": [{"head": "product", "verdict": "corrected", "label": LABELS[number % 3]}],
        "metadata": {"number": number},
    }
    return read_submission(given)


def photo_of(writer, number, photos):
    """Index of its photo: no person sees a photo twice, as long as there are enough."""
    return (writer * 31 + number // 7) % len(photos)


def write(store_args, acks, writer, numbers, photos):
    """Send what was not acknowledged yet; after each acknowledgement note it."""
    done = set(acks.read_text().split()) if acks.exists() else set()
    noted = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with FeedbackStore(*store_args) as store:
        for number in numbers:
            if str(number) not in done:
                store.add(submission(writer, number), photos[photo_of(writer, number, photos)])
                os.write(noted, f"{number} ".encode())


def run(target, arguments_of, writers, *, kills=0, seed=0, progress=lambda: 1.0):
    """Run writers until all are through, and kill some of them on the way.

    Args:
        target: Run by each.
        arguments_of: Gives its arguments, by number of the writer.
        writers: How many.
        kills: How many get a SIGKILL and are started again: one each time that another equal part
            of the work is done, whoever does it.
        seed: Of who is killed.
        progress: Gives the share of the work that is done.

    Returns:
        Seconds, and how many were killed.
    """
    fork, dice = multiprocessing.get_context("fork"), random.Random(seed)

    def start(writer):
        process = fork.Process(target=target, args=arguments_of(writer))
        process.start()
        return process

    begun = time.perf_counter()
    running = {writer: start(writer) for writer in range(writers)}
    killed = 0
    while running:
        if killed < kills and progress() >= (killed + 0.5) / (kills + 1):
            writer = dice.choice(sorted(running))
            running[writer].kill()
            running[writer].join()
            if running[writer].exitcode == -signal.SIGKILL:  # else it was through already
                killed += 1
                running[writer] = start(writer)
        for writer, process in list(running.items()):
            process.join(0.002)
            if process.exitcode is not None:
                if process.exitcode != 0:
                    raise RuntimeError(f"writer {writer} ended with {process.exitcode}")
                del running[writer]
    return time.perf_counter() - begun, killed


def acknowledged(folder, writers):
    """Keys that writers noted."""
    files = [(writer, Path(folder) / f"{writer}.acks") for writer in range(writers)]
    return {
        f"w{writer}-{number}"
        for writer, file in files
        if file.exists()
        for number in file.read_text().split()
    }
