"""timm, imported once torchvision can be; see `compat`."""

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

import timm  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402

__all__ = ["ModelEmaV3", "timm"]
