"""Parameters of the bundle stage."""

from pydantic import BaseModel, ConfigDict, Field


class BundleParams(BaseModel):
    """Name of the bundle, and the parts of its model card that a run cannot know."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, description="Of the bundle and the model card")
    licence: str = Field(
        default="apache-2.0", description="Of the models, as the Hugging Face hub abbreviates it"
    )
    photos: str = Field(description="Where the photos come from, and who may use them, in words")
    use: str = Field(description="What the models are for, and what they are not for, in words")
    golden_photos: int = Field(
        default=8, gt=0, description="Test photos whose outputs every client must reproduce"
    )
    seed: int = Field(default=0, ge=0, description="Seed for the choice of golden photos")
