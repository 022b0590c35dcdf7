"""The LightningModule: training and validation steps, optimizer, EMA of the weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from cannabis_ml.errors import TrainingError
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.networks.inplace_relu6 import replace_relu6
from cannabis_ml.networks.network import HierarchicalNet, given_parents, marginals
from cannabis_ml.networks.ready_timm import ModelEmaV3
from cannabis_ml.taxonomy import MISSING, Taxonomy
from cannabis_ml.training.data import Batch, process_of
from cannabis_ml.training.losses import (
    distillation_loss,
    head_weights,
    hierarchical_loss,
    initial_log_variances,
    summed_loss,
)
from cannabis_ml.training.mixing import mix
from cannabis_ml.training.phases import (
    parameter_groups,
    set_trainable,
    warmup_cosine,
)
from cannabis_ml.training.ready_lightning import lightning
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams


class Supervision(NamedTuple):
    """What some photos are trained towards.

    Attributes:
        targets: Per head, as from `Taxonomy.encode`.
        teacher: Per head the teacher's probabilities, (N, K); empty without a teacher.
        members: Weight of each photo for each member, (N, M).
    """

    targets: dict[str, Tensor]
    teacher: dict[str, Tensor]
    members: Tensor

    def at(self, index: Tensor) -> Supervision:
        """That of other photos of the batch, by their positions, int64 (N,)."""
        return Supervision(
            {name: values[index] for name, values in self.targets.items()},
            {name: values[index] for name, values in self.teacher.items()},
            self.members[index],
        )


class PhotoModule(lightning.LightningModule):
    """Trains a `HierarchicalNet`; logs `train_loss`, `validation_loss` and metrics per head.

    All randomness of a step is drawn from the seed, the step and the rank of the process, so that
    tensors and counters are all that resuming needs.

    Args:
        network: Changed in place.
        training: What all tiers share.
        schedule: What learns when.
        class_weights: Per head float32 (K,), for the heads that have them.
    """

    def __init__(
        self,
        network: HierarchicalNet,
        training: TrainingParams,
        schedule: Schedule,
        class_weights: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = channels_last(network)
        if not training.compile:  # the compiler plans memory itself
            replace_relu6(network)
        self.training_params, self.schedule = training, schedule
        self.class_weights = class_weights
        self.log_variances: nn.Parameter | None = None
        if training.loss.balance == "learned":
            start = initial_log_variances(network.taxonomy, training.loss)
            self.log_variances = nn.Parameter(start)
        self.ema: ModelEmaV3 | None = None
        if training.ema_decay:
            # The decay at step t is min(ema_decay, (1 + t) / (10 + t)).
            self.ema = ModelEmaV3(
                self.network,
                decay=training.ema_decay,
                use_warmup=True,
                warmup_gamma=9.0,
                warmup_power=1.0,
                update_after_step=-2,
            ).requires_grad_(False)
        self.frozen: list[nn.Module] = []
        self._phase: int | None = None
        self._sums: dict[str, Tensor] = {}
        self.train()  # Lightning takes the modes as it finds them

    @property
    def kept(self) -> HierarchicalNet:
        """The network that is validated and kept: the EMA, if there is one."""
        return self.network if self.ema is None else cast(HierarchicalNet, self.ema.module)

    @property
    def phase(self) -> Phase:
        """Of the current epoch."""
        return self.schedule.phases[self.schedule.phase_at(self.current_epoch)]

    def train(self, mode: bool = True) -> PhotoModule:
        """Switch between training and evaluation; frozen modules and the EMA stay in evaluation."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        if self.ema is not None:
            self.ema.eval()
        return self

    def enter(self, phase: int) -> None:
        """Unfreeze the parameters that a phase trains, freeze all others."""
        # Not before the first step: DDP registers the parameters that have a gradient.
        if phase != self._phase:
            self._phase = phase
            self.frozen = set_trainable(self.network, self.schedule.phases[phase])
            self.train(self.training)

    def learning_rate(self, batch: int) -> float:
        """Learning rate of the backbone's top layer at a batch of the current epoch."""
        index = self.schedule.phase_at(self.current_epoch)
        phase = self.schedule.phases[index]
        per_epoch = int(self.trainer.num_training_batches)
        steps = phase.epochs * per_epoch
        step = (self.current_epoch - self.schedule.first_epoch(index)) * per_epoch + batch
        warmup = round(self.training_params.warmup_fraction * steps)
        return phase.learning_rate * warmup_cosine(step, steps, warmup)

    def setup(self, stage: str) -> None:
        """Compile in the process that trains: compiled modules cannot be pickled."""
        if self.training_params.compile:
            network: Any = self.network
            network.embed_with_attention = torch.compile(network.embed_with_attention)

    def on_train_epoch_start(self) -> None:
        """Reset the sums."""
        self._sums = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set phase and learning rates, which depend on the step alone."""
        self.enter(self.schedule.phase_at(self.current_epoch))
        rate = self.learning_rate(batch_idx)
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch.

        Raises:
            TrainingError: If it is not finite.
        """
        params, (rank, together) = self.training_params, process_of()
        photos = batch.photos
        self._seed(0)  # one share for all processes
        mixed = mix(photos, params.mixup, params.cutmix) if photos.ndim == 4 else None
        self._seed(1 + rank)
        logits = _logits_of(self.network, (mixed or batch).photos)
        own = Supervision(batch.targets, batch.teacher, batch.members)
        shares = [(1.0, own)]
        if mixed is not None:
            shares = [(mixed.share, own), (1 - mixed.share, own.at(mixed.partner))]
        if together > 1:
            # The loss of the whole batch in every process: means over labels do not add up.
            logits = self._gathered(logits)
            shares = [(share, self._gathered(target)) for share, target in shares]
        loss = torch.stack([share * self._loss(logits, *target) for share, target in shares]).sum()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} in epoch {self.current_epoch + 1}, step"
                f" {self.global_step + 1}. Lower learning_rate in the schedule's phase"
                f" '{self.phase.name}' (now {self.phase.learning_rate:g}), or train in precision"
                " 32-true. The last good state is kept."
            )
        self._add("train", loss.detach() * len(photos), len(photos))
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the moving average of the weights."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, self.global_step)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add the losses and correct decisions of a batch to the epoch's sums."""
        network, params = self.kept, self.training_params.loss
        logits = _logits_of(network, batch.photos)
        plain = params.model_copy(update={"label_smoothing": 0.0})
        taxonomy, targets = network.taxonomy, batch.targets
        decided = decide(logits, taxonomy)
        for head in taxonomy.heads:
            total = summed_loss(head, logits[head.name], targets, taxonomy, plain)
            self._add(f"{head.name}_loss", *total)
            right = count_right(decided[head.name], targets[head.name])
            self._add(f"{head.name}_accuracy", *right)

    def on_validation_epoch_start(self) -> None:
        """Reset the sums of validation."""
        self._sums = {name: s for name, s in self._sums.items() if name == "train"}

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's losses and metrics, as means over labels, not over batches.

        The training loss too: callbacks run before this module at the end of an epoch.
        """
        self.log("train_loss", self._mean("train") or 0.0)
        heads = self.network.taxonomy.heads
        weights = head_weights(self.network.taxonomy, self.training_params.loss.weights)
        total = sum(weights[h.name] * (self._mean(f"{h.name}_loss") or 0.0) for h in heads)
        if not math.isfinite(total):
            raise TrainingError(
                f"The validation loss became {total} in epoch {self.current_epoch + 1}."
                f" Lower learning_rate in the schedule's phase '{self.phase.name}' (now"
                f" {self.phase.learning_rate:g}). The last good state is kept."
            )
        self.log("validation_loss", total, prog_bar=True)
        for head in heads:
            for metric in ("loss", "accuracy"):
                value = self._mean(f"{head.name}_{metric}")
                if value is not None:
                    self.log(f"validation_{head.name}_{metric}", value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One AdamW over all parameters; it skips those that are frozen in a phase."""
        groups = parameter_groups(self.network, self.training_params)
        if self.log_variances is not None:
            scale = self.training_params.head_multiplier
            groups.append(
                {"params": [self.log_variances], "scale": scale, "weight_decay": 0.0, "lr": 0.0}
            )
        return torch.optim.AdamW(groups)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the sums of a partial epoch."""
        checkpoint["sums"] = self._sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the sums of a partial epoch."""
        self._sums = checkpoint["sums"]

    def _loss(
        self,
        logits: dict[str, Tensor],
        targets: dict[str, Tensor],
        teacher: dict[str, Tensor],
        members: Tensor,
    ) -> Tensor:
        taxonomy, params = self.network.taxonomy, self.training_params.loss
        weights = self.class_weights
        loss, _per_head = hierarchical_loss(
            logits,
            targets,
            taxonomy,
            params,
            class_weights=weights and {k: w.to(members.device) for k, w in weights.items()},
            member_weights=members,
            log_variances=self.log_variances,
        )
        if teacher:
            distillation = self.schedule.distillation
            taught, _ = distillation_loss(
                logits, teacher, taxonomy, distillation.temperature, params
            )
            loss = (1 - distillation.weight) * loss + distillation.weight * taught
        return loss

    def _gathered(self, values: Any) -> Any:
        """Tensors of all processes, concatenated; gradients flow back to each."""
        from lightning_utilities.core.apply_func import apply_to_collection

        gathered = self.all_gather(values, sync_grads=torch.is_grad_enabled())
        return apply_to_collection(gathered, Tensor, lambda tensor: tensor.flatten(0, 1))

    def _seed(self, stream: int) -> None:
        words = (self.training_params.seed, self.global_step, stream)
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]))

    def _add(self, name: str, total: Tensor, count: Tensor | int) -> None:
        pair = torch.stack([total.double(), torch.as_tensor(count).to(total.device).double()])
        self._sums[name] = self._sums[name].to(pair) + pair if name in self._sums else pair

    def _mean(self, name: str) -> float | None:
        """Mean over all processes; None if nothing was counted."""
        pair = self._sums.get(name, torch.zeros(2, dtype=torch.float64, device=self.device))
        total, count = self.trainer.strategy.reduce(pair, reduce_op="sum").tolist()
        return total / count if count else None


def channels_last(network: HierarchicalNet) -> HierarchicalNet:
    """Convert to channels-last, a third faster for depthwise convolutions on CPU and GPU."""
    to: Any = network.to  # PyTorch's annotations lack this argument
    return to(memory_format=torch.channels_last)


def decide(logits: dict[str, Tensor], taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Decide from logits (N, M, C), as `Decision.decide` with its default thresholds."""
    given = {name + GIVEN: probs for name, probs in given_parents(logits, taxonomy).items()}
    outputs = {**marginals(logits, taxonomy), **given}
    arrays = {name: probs.detach().float().cpu().numpy() for name, probs in outputs.items()}
    return Decision(taxonomy).decide(arrays)


def count_right(decided: np.ndarray, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Number of labels that decisions match, and of known labels.

    Args:
        decided: Of one head, as from `Decision.decide`.
        targets: As from `Taxonomy.encode`.
    """
    known = ~targets.isnan() if targets.ndim == 2 else targets != MISSING
    right = torch.from_numpy(decided).to(targets.device) == targets
    return (right & known).sum(), known.sum()


def _logits_of(network: HierarchicalNet, photos: Tensor) -> dict[str, Tensor]:
    """From pixels (N, 3, S, S), or from cached features (N, F)."""
    if photos.ndim == 2:
        return network.classify(photos)
    logits: dict[str, Tensor] = network(photos.contiguous(memory_format=torch.channels_last))
    return logits
