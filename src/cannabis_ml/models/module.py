"""What happens in a step and an epoch of training; Lightning does the loop around it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from cannabis_ml.models.compat import ready_torchvision

ready_torchvision()

import lightning  # noqa: E402
import torch  # noqa: E402
from timm.optim import param_groups_layer_decay  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from cannabis_ml.errors import TrainingError  # noqa: E402
from cannabis_ml.models.data import PHOTO_WEIGHT  # noqa: E402
from cannabis_ml.models.losses import (  # noqa: E402
    head_weights,
    hierarchical_loss,
    summed_loss,
)
from cannabis_ml.models.network import HierarchicalNet  # noqa: E402
from cannabis_ml.models.params import TrainingParams  # noqa: E402
from cannabis_ml.models.weights import layer_groups  # noqa: E402
from cannabis_ml.taxonomy import MISSING, Head  # noqa: E402

Batch = tuple[Tensor, dict[str, Tensor]]


class PhotoModule(lightning.LightningModule):
    """Trains a `HierarchicalNet`; logs `train_loss`, `validation_loss` and metrics per head.

    Args:
        network: Changed in place.
        training: How to train it.
        frozen_layers: This many of the backbone's lowest layers stay exactly as they are.
    """

    def __init__(
        self, network: HierarchicalNet, training: TrainingParams, frozen_layers: int = 0
    ) -> None:
        super().__init__()
        self.network = channels_last(network)
        self.training_params = training
        self.frozen = freeze_layers(network.backbone, frozen_layers)
        self._sums: dict[str, Tensor] = {}
        self.train()  # Lightning takes the modes as it finds them

    def train(self, mode: bool = True) -> PhotoModule:
        """Switch between training and evaluation; frozen layers keep their BatchNorm statistics."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch; stops where it is no number any more."""
        photos, targets = batch
        logits = self.network(photos.contiguous(memory_format=torch.channels_last))
        loss, _per_head = hierarchical_loss(
            logits,
            targets,
            self.network.taxonomy,
            self.training_params.loss_weights,
            self.training_params.label_smoothing,
            targets.get(PHOTO_WEIGHT),
        )
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} in epoch {self.current_epoch + 1}, step"
                f" {self.global_step + 1}. Lower training.learning_rate (now"
                f" {self.training_params.learning_rate:g}), or train in precision 32-true."
            )
        self._add("train", loss.detach() * len(photos), len(photos))
        return loss

    def on_train_epoch_start(self) -> None:
        """Forget the epoch before."""
        self._sums = {}

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add a batch to the epoch's sums."""
        photos, targets = batch
        logits = self.network(photos.contiguous(memory_format=torch.channels_last))
        for head in self.network.taxonomy.heads:
            truth = targets[head.name]
            self._add(f"{head.name}_loss", *summed_loss(head, logits[head.name], truth))
            self._add(f"{head.name}_accuracy", *count_right(head, logits[head.name], truth))

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self._sums = {name: s for name, s in self._sums.items() if name == "train"}

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's losses and metrics, as means over labels, not over batches.

        The training loss too: callbacks are told of the end of an epoch before this module is.
        """
        self.log("train_loss", self._mean("train") or 0.0)
        heads = self.network.taxonomy.heads
        weights = head_weights(self.network.taxonomy, self.training_params.loss_weights)
        total = sum(weights[h.name] * (self._mean(f"{h.name}_loss") or 0.0) for h in heads)
        if not math.isfinite(total):
            raise TrainingError(
                f"The validation loss became {total} in epoch {self.current_epoch + 1}."
                f" Lower training.learning_rate (now {self.training_params.learning_rate:g})."
            )
        self.log("validation_loss", total, prog_bar=True)
        for head in heads:
            for metric in ("loss", "accuracy"):
                value = self._mean(f"{head.name}_{metric}")
                if value is not None:
                    self.log(f"validation_{head.name}_{metric}", value)

    def configure_optimizers(self) -> Any:
        """AdamW with a rate per group; warm-up, then cosine to nothing, per step."""
        optimizer = torch.optim.AdamW(parameter_groups(self.network, self.training_params))
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.training_params.warmup_fraction * steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, steps, warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _add(self, name: str, total: Tensor, count: Tensor | int) -> None:
        pair = torch.stack([total.double(), torch.as_tensor(count).to(total.device).double()])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def _mean(self, name: str) -> float | None:
        """Mean over all processes; None where nothing was counted."""
        if name not in self._sums:
            return None
        total, count = self.trainer.strategy.reduce(self._sums[name], reduce_op="sum").tolist()
        return total / count if count else None


def channels_last(network: HierarchicalNet) -> HierarchicalNet:
    """Lay out weights as depthwise convolutions like them, on CPU as on GPU: a third faster."""
    to: Any = network.to  # PyTorch's annotations lack this argument
    return to(memory_format=torch.channels_last)


def freeze_layers(backbone: nn.Module, count: int) -> list[nn.Module]:
    """Keep the lowest layers of a backbone from learning.

    Edges and textures learnt from a million photos need no change, and most of the time of a
    training step goes into the gradient of these large feature maps.

    Args:
        backbone: As from `load_backbone`.
        count: Layers as of `layer_groups`; 0 freezes nothing.

    Returns:
        The modules that hold frozen parameters: they belong in evaluation mode for ever.
    """
    names = {name for layer in layer_groups(backbone)[:count] for name in layer} if count else set()
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in names)
    return [
        module
        for module in backbone.modules()
        if (own := list(module.parameters(recurse=False)))
        and not any(parameter.requires_grad for parameter in own)
    ]


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: a line up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def parameter_groups(network: HierarchicalNet, training: TrainingParams) -> list[dict[str, Any]]:
    """Parameters that share learning rate and weight decay.

    The backbone's layers learn at `learning_rate`, times `layer_decay` per layer below the top;
    the heads at `head_multiplier` times it. Biases, norms and thresholds are not decayed.
    """
    groups = [
        {
            "params": group["params"],
            "lr": training.learning_rate * group["lr_scale"],
            "weight_decay": group["weight_decay"],
        }
        for group in param_groups_layer_decay(
            network.backbone, training.weight_decay, layer_decay=training.layer_decay
        )
    ]
    by_decay = defaultdict(list)
    for parameter in network.heads.parameters():
        by_decay[training.weight_decay if parameter.ndim > 1 else 0.0].append(parameter)
    rate = training.learning_rate * training.head_multiplier
    groups += [{"params": p, "lr": rate, "weight_decay": decay} for decay, p in by_decay.items()]
    return groups


def count_right(head: Head, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many labels the best guess hits, and how many are known."""
    if head.kind == "multilabel":
        known = ~targets.isnan()
        return (((logits > 0) == (targets > 0)) & known).sum(), known.sum()
    # As `Head.answer` decides: an ordinal logit above 0 says "worse than class k, rather".
    guess = (logits > 0).sum(dim=1) if head.kind == "ordinal" else logits.argmax(dim=1)
    known = targets != MISSING
    return ((guess == targets) & known).sum(), known.sum()
