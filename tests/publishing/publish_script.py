"""Publishes photos of the tests as version 1.0.0: `publish_script.py OWNER/NAME`."""

import importlib.util
import sys
from pathlib import Path

from cannabis_ml._io.hub import Version
from cannabis_ml.publishing import hub_commit, photo_shards
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.publishing.photos import PhotosToPublish, publish_photos

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("made", Path(__file__).with_name("conftest.py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    photo_shards.SHARD_PHOTOS, hub_commit.BATCH_FILES = 4, 2  # many files, many requests
    target = Target(sys.argv[1], "dataset", Version(1, 0, 0))
    print(publish_photos(PhotosToPublish(made.ingested(24), made.FREE, target)).commit)
