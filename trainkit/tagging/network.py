"""The network of a tagger: a backbone, and a linear head on its features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainkit.tagging.backbone import Backbone


class Head(nn.Module):
    """Features to logits, [B, D] to [B, O]: standardised, perhaps some dropped, then one linear layer."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_features: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, num_outputs)
        nn.init.zeros_(self.linear.weight)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits, [B, O]."""
        standard = (features_BD - self.mean) / self.deviation
        logits: Tensor = self.linear(self.dropout(standard))
        return logits

    @torch.no_grad()
    def begin(self, shares: Sequence[float]) -> None:
        """Start at how frequent each label is: what is rare is not hoped for at first (Lin et al. 2017)."""
        least = 1e-4
        clipped = [min(max(share, least), 1 - least) for share in shares]
        self.linear.bias.copy_(torch.tensor([math.log(p / (1 - p)) for p in clipped]))

    @torch.no_grad()
    def standardise(self, features_ND: Tensor) -> None:
        """Take mean and deviation of features that stay as they are (a probe)."""
        features = features_ND.float()
        self.mean.copy_(features.mean(dim=0))
        self.deviation.copy_(features.std(dim=0, correction=0).clamp(min=1e-3))


class TaggerNetwork(nn.Module):
    """Pictures to logits, [B, 3, S, S] to [B, O]."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        """Logits, [B, O]."""
        logits: Tensor = self.head(self.backbone(pictures_BCHW))
        return logits
