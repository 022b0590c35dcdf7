"""Ask for labels in a process that may be killed: `ask.py PARAMS TAXONOMY PHOTOS [DIE_AFTER]`.

DIE_AFTER: kills itself once so many replies are kept.
"""

import os
import signal
import sys
from pathlib import Path

from cannabis_ml.assistant.opening import open_runner
from cannabis_ml.assistant.outgoing import photos_in
from cannabis_ml.assistant.params import AssistantParams, SuggestParams
from cannabis_ml.assistant.suggesting import label_questions
from cannabis_ml.taxonomy import Taxonomy

params = AssistantParams.model_validate_json(sys.argv[1])
taxonomy = Taxonomy.model_validate_json(sys.argv[2])
runner = open_runner(params)
put, kept = runner.cache.put, []


def put_and_die(entry):
    put(entry)
    kept.append(entry.key)
    if len(kept) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)


if len(sys.argv) > 4:
    runner.cache.put = put_and_die
runner.run(label_questions(photos_in(Path(sys.argv[3])), taxonomy, SuggestParams()))
