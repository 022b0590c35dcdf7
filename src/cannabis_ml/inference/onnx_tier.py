"""Ask an exported ONNX model about photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cannabis_ml.errors import ExportError
from cannabis_ml.photos.resize import fit
from cannabis_ml.taxonomy import Taxonomy

if TYPE_CHECKING:
    import onnx

METADATA_KEY = "cannabis_ml"
"""Key of the file's own metadata; its value is JSON with `taxonomy` and `image_size`."""

INPUT_NAME = "photos"


class OnnxTier:
    """An exported model, ready to answer.

    Args:
        model: The model, or the bytes of its file.
        threads: CPU threads for one operator; 0 leaves it to ONNX Runtime.

    Raises:
        ExportError: If the file does not say what its outputs mean.
    """

    def __init__(self, model: onnx.ModelProto | bytes, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        data = model if isinstance(model, bytes) else model.SerializeToString()
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ExportError(
                f"The ONNX model has no '{METADATA_KEY}' metadata: its classes and input size are "
                "unknown. Export it with `kedro run --pipeline=export`."
            )
        card = json.loads(metadata[METADATA_KEY])
        self.taxonomy = Taxonomy.model_validate(card["taxonomy"])
        self.image_size = int(card["image_size"])

    def predict(self, photos: Sequence[np.ndarray], batch_size: int = 32) -> dict[str, np.ndarray]:
        """Answer for photos of any size.

        Args:
            photos: Each uint8 RGB (height, width, 3), upright; cut to the centre square and
                resized to the model's input.
            batch_size: How many photos the model sees at once.

        Returns:
            Per head, float32 (N, K) probabilities in class order.
        """
        heads = [head.name for head in self.taxonomy.heads]
        batches = []
        for start in range(0, len(photos), batch_size):
            chunk = photos[start : start + batch_size]
            pixels = np.stack([fit(photo, self.image_size) for photo in chunk])
            batches.append(self._session.run(heads, {INPUT_NAME: pixels}))
        if not batches:
            return {h.name: np.empty((0, len(h.classes)), np.float32) for h in self.taxonomy.heads}
        return {name: np.concatenate([b[i] for b in batches]) for i, name in enumerate(heads)}
