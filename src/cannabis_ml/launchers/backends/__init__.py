"""One file per provider of machines; `launchers.backend.open_backend` imports the one asked for."""

BACKENDS = {
    "local": ("local", "LocalBackend", ""),
    "ssh": ("ssh", "SshBackend", ""),
    "huggingface": ("huggingface", "HuggingFaceBackend", "pipelines"),
    "modal": ("modal", "ModalBackend", "modal"),
    "vertex": ("vertex", "VertexBackend", "vertex"),
    "sagemaker": ("sagemaker", "SageMakerBackend", "sagemaker"),
    "replicate": ("replicate", "ReplicateBackend", "vertex"),
}
"""Name: module of this package, class, extra that it needs. A class takes `settings: Mapping`."""
