"""ONNX models in the catalog."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version

from cannabis_ml.files import written_aside

if TYPE_CHECKING:
    import onnx


class OnnxDataset(AbstractVersionedDataset["onnx.ModelProto", "onnx.ModelProto"]):
    """Saves and loads an `onnx.ModelProto`.

    Args:
        filepath: Local path of the `.onnx` file.
        version: Kedro's version, where the entry is versioned.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(filepath),
            version=version,
            exists_function=lambda path: Path(path).is_file(),
        )

    def load(self) -> onnx.ModelProto:
        import onnx

        path = Path(self._get_load_path())
        data = path.read_bytes()
        try:
            model = onnx.load_model_from_string(data)
        except Exception as error:  # protobuf's own errors share no base class
            raise DatasetError(f"{path} is not an ONNX model: {error}") from error
        # Protobuf reads a file that was cut between two fields, or an empty one, as a short model.
        if not model.graph.node or not model.opset_import:
            raise DatasetError(f"{path} is not a whole ONNX model: {len(data):,} bytes, no graph.")
        return model

    def save(self, data: onnx.ModelProto) -> None:
        with written_aside(Path(self._get_save_path())) as aside:
            aside.write_bytes(data.SerializeToString())

    def _exists(self) -> bool:
        try:
            return Path(self._get_load_path()).is_file()
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
