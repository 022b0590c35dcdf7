"""Experts: networks of their own for classes of a parent head, each answering one of its children.

A crop's leaves show other conditions than another crop's. An expert has learned from the photos of
one class of the parent alone, and answers P(child | that class); the network for all answers
P(parent), and P(child | parent) of the classes without an expert. `decoding` puts both together:

    P(child) = sum over p of P(p) P(child | p)

so that every photo is answered by the experts of the classes that it may be of, by how likely each
is. It is a mixture of experts whose gate is the parent head (Jacobs et al. 1991, eq. 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cannabis_ml.taxonomy import Head, Taxonomy

if TYPE_CHECKING:
    from cannabis_ml.networks.network import HierarchicalNet


class Experts(nn.Module):
    """The experts of one head.

    Args:
        taxonomy: With the head and its parent.
        head: Name of a multiclass head that its parent limits.
        networks: By class of the parent, each with the head of `expert_taxonomy` alone.
    """

    def __init__(
        self, taxonomy: Taxonomy, head: str, networks: Mapping[str, HierarchicalNet]
    ) -> None:
        super().__init__()
        child = taxonomy[head]
        assert child.parent is not None
        self.head = head
        self.names = list(networks)
        self.parents = taxonomy[child.parent].class_names
        self.networks = nn.ModuleList(networks.values())
        for number, network in enumerate(networks.values()):
            # Per class of the head its place among the expert's own, which end with one of none.
            own = network.taxonomy[head].class_names
            places = [own.index(c) if c in own else len(own) for c in child.class_names]
            self.register_buffer(f"places_{number}", torch.tensor(places), persistent=False)

    @property
    def widths(self) -> list[int]:
        """Number of features of each expert."""
        return [cast("HierarchicalNet", network).num_features for network in self.networks]

    def embed(self, photos: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) RGB -> float, the features of all experts side by side."""
        experts = [cast("HierarchicalNet", network) for network in self.networks]
        return torch.cat([expert.embed(photos) for expert in experts], dim=1)

    def logits(self, features: Tensor, general: Tensor) -> Tensor:
        """Logits of the head given each class of its parent.

        Args:
            features: As from `embed`.
            general: (N, M, C) of the network for all.

        Returns:
            (N, M, P, C); 0 for classes that an expert does not know, as the parent forbids them.
        """
        own = dict(zip(self.names, features.split(self.widths, dim=1), strict=True))
        return torch.stack(
            [self._given(name, own[name]) if name in own else general for name in self.parents],
            dim=2,
        )

    def _given(self, name: str, features: Tensor) -> Tensor:
        number = self.names.index(name)
        network = cast("HierarchicalNet", self.networks[number])
        known = network.classify(features)[self.head]
        places: Tensor = getattr(self, f"places_{number}")
        return functional.pad(known, (0, 1)).index_select(-1, places)


def expert_taxonomy(taxonomy: Taxonomy, head: str, parent_class: str) -> Taxonomy:
    """The head by itself, with the classes that one class of its parent allows."""
    child = taxonomy[head]
    allowed = (child.allowed or {}).get(parent_class, [])
    classes = [one for one in child.classes if one.name in allowed]
    return Taxonomy(heads=[Head(name=head, kind=child.kind, about=child.about, classes=classes)])
