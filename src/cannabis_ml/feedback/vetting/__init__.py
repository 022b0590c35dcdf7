"""Vetting: what people's opinions are worth, what they agree on, and who is reliable."""

from cannabis_ml.feedback.vetting.params import VettingParams
from cannabis_ml.feedback.vetting.vet import (
    Evidence,
    Vetted,
    changes,
    label_table,
    vet_opinions,
)

__all__ = ["Evidence", "Vetted", "VettingParams", "changes", "label_table", "vet_opinions"]
