"""Parameters of the export stage."""

from pydantic import BaseModel, ConfigDict, Field


class ExportParams(BaseModel):
    """What an exported model must fulfil."""

    model_config = ConfigDict(extra="forbid")

    max_difference: float = Field(
        default=1e-3, gt=0, description="Largest allowed difference of a probability to PyTorch's"
    )
    photos: int = Field(default=64, gt=0, description="Test photos on which both are compared")
