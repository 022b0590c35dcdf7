"""Lightning, imported once torchvision can be; see `cannabis_ml.networks.compat`."""

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

import lightning  # noqa: E402
import lightning.pytorch  # noqa: E402

__all__ = ["lightning"]
