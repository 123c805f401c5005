"""Extremely randomised trees of spectra over composition: what holds where phases meet, and far from all measurements.

A tree says the spectrum of one measured alloy, so the mean of many never goes beyond what was measured.

Letters: n training spectra, e elements, q points, b alloys asked for, t trees, g training compositions that differ,
k nodes of a tree.
"""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.ensemble import ExtraTreesRegressor
from torch import Tensor, nn

from glassmap.agent.data.composition import average_replicates
from glassmap.agent.shapes import Compositions, Spectra

TREES = 100


class Forest(nn.Module):
    """Fully grown trees, kept as tables, so that a device walks down all of them at once.

    Source: Geurts, Ernst and Wehenkel, *Mach. Learn.* 63, 3 (2006); grown by scikit-learn.
    """

    feature: Tensor  # (t, k): the element that a node asks for; 0 at leaves
    threshold: Tensor  # (t, k): at most so much of it goes left
    children_left: Tensor  # (t, k): the next node; a leaf's is itself
    children_right: Tensor  # (t, k)
    group: Tensor  # (t, k): which training composition a leaf stands for
    member: Tensor  # (n,): the training composition of each spectrum

    def __init__(self, **tables: Tensor) -> None:
        super().__init__()
        for name, table in tables.items():
            self.register_buffer(name, table)

    @classmethod
    def fit(cls, compositions: Compositions, spectra: Spectra, *, seed: int) -> "Forest":
        """Grow the trees.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: `(n, q)`; those of one alloy count as their mean.
            seed: Of the random splits, below 2**32.
        """
        alloys, means, member = average_replicates(compositions, spectra)
        targets = means if spectra.shape[1] > 1 else means[:, 0]  # scikit-learn warns of a single column
        grown = ExtraTreesRegressor(TREES, random_state=seed).fit(alloys, targets)
        trees = [estimator.tree_ for estimator in grown.estimators_]
        shape = (TREES, max(tree.node_count for tree in trees))
        own = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
        tables: dict[str, np.ndarray] = {name: own.copy() for name in ("children_left", "children_right")}
        tables |= {name: np.zeros(shape, dtype=np.int32) for name in ("feature", "group")}
        tables["threshold"] = np.zeros(shape)
        for number, tree in enumerate(trees):
            inner = np.flatnonzero(tree.children_left >= 0)
            for name in ("feature", "threshold", "children_left", "children_right"):
                tables[name][number, inner] = getattr(tree, name)[inner]
            tables["group"][number, tree.apply(alloys.astype(np.float32))] = np.arange(len(alloys))
        return cls(**{name: torch.tensor(table) for name, table in tables.items()}, member=torch.tensor(member))

    def forward(self, compositions: Float[Tensor, "b e"]) -> Float[Tensor, "b n"]:
        """Each training spectrum's share in what the trees say of some alloys, in double precision."""
        asked = compositions.float().double()  # as the trees were grown
        tree = torch.arange(len(self.feature), device=asked.device)
        node = torch.zeros(len(asked), len(tree), dtype=torch.int64, device=asked.device)
        while True:
            goes_left = asked.gather(1, self.feature[tree, node].long()) <= self.threshold[tree, node]
            below = torch.where(goes_left, self.children_left[tree, node], self.children_right[tree, node]).long()
            if torch.equal(below, node):
                break
            node = below
        groups = self.member.bincount()
        votes = torch.zeros(len(asked), len(groups), dtype=torch.int64, device=asked.device)
        votes.scatter_add_(1, self.group[tree, node].long(), torch.ones_like(node))
        return votes[:, self.member].double() / (len(tree) * groups[self.member])
