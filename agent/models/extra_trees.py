"""Extremely randomised trees of spectra over composition: what holds where phases meet, and far from all measurements.

A tree predicts the spectrum of one measured alloy, so the mean of many never goes beyond what was measured.

Letters: n training spectra, e elements and columns of the context, q points, b alloys asked for, t trees, g training
alloys that differ, k nodes of a tree.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float, Integer
from sklearn.ensemble import ExtraTreesRegressor  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from glassmap.agent.data.composition import average_replicates
from glassmap.agent.models.base_model import Known, PredictedBlock, Saved, TrainedBaseModel, blocks_of, on_cpu
from glassmap.agent.models.protocol import Prediction, stream_seed
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Compositions, Groups, Spectra

TREES = 100


@dataclass(frozen=True)
class RandomisedTrees:
    """Fully grown, extremely randomised trees, every point of the spectrum an output.

    Source: Geurts, Ernst and Wehenkel, *Mach. Learn.* 63, 3 (2006); grown by scikit-learn.
    """

    device: torch.device

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups | None = None,
        report: Report = ignore,
    ) -> "TrainedTrees":
        """Grow the trees on all spectra, `(n, q)`; those of one alloy count as their mean."""
        alloys, means, sample_to_alloy = average_replicates(compositions, spectra)
        targets = means if spectra.shape[1] > 1 else means[:, 0]  # scikit-learn warns of a single column
        grown = cast(Any, ExtraTreesRegressor(TREES, random_state=stream_seed(seed, "trees") % 2**32))
        trees = [estimator.tree_ for estimator in grown.fit(alloys, targets).estimators_]
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
        tables["sample_to_alloy"] = sample_to_alloy
        known = Known.of(compositions, spectra, self.device)
        return TrainedTrees(known, **{name: torch.tensor(table, device=self.device) for name, table in tables.items()})

    def leave_out(
        self,
        fold: int,
        trained: TrainedBaseModel,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups,
    ) -> "TrainedTrees":
        """Grow trees on the other folds."""
        rest = folds != fold
        return self.fit(compositions[rest], spectra[rest], seed=seed)

    def restore(self, saved: Saved, known: Known) -> "TrainedTrees":
        """Return trained trees from what a checkpoint kept of them."""
        return TrainedTrees(known, **{name: table.to(self.device) for name, table in saved.tensors.items()})


@dataclass(frozen=True, eq=False)
class TrainedTrees:
    """Trees kept as tables, so that a device walks down all of them at once, and the spectra at their leaves."""

    known: Known
    feature: Integer[Tensor, "t k"]  # the element that a node asks for; 0 at leaves
    threshold: Float[Tensor, "t k"]  # at most so much of it goes left
    children_left: Integer[Tensor, "t k"]  # the next node; a leaf's is itself
    children_right: Integer[Tensor, "t k"]
    group: Integer[Tensor, "t k"]  # which training alloy a leaf stands for
    sample_to_alloy: Integer[Tensor, " n"]  # the training alloy of each spectrum
    extrapolates: ClassVar[bool] = False

    @cached_property
    def depth(self) -> int:
        """Nodes between a root and the deepest leaf; children stand behind their parents."""
        left, right = self.children_left.cpu().numpy(), self.children_right.cpu().numpy()
        tree, depths = np.arange(len(left)), np.zeros(left.shape, dtype=np.int64)
        for node in range(left.shape[1]):
            for child in (left[:, node], right[:, node]):
                depths[tree, child] = depths[:, node] + (child != node)
        return int(depths.max())

    @cached_property
    def samples_of_alloys(self) -> Integer[Tensor, " g"]:
        """How many spectra each training alloy has."""
        return self.sample_to_alloy.bincount()

    def blend(self, compositions: Float[Tensor, "b e"]) -> Float[Tensor, "b n"]:
        """Return each training spectrum's share in what the trees predict of some alloys, in double precision."""
        asked = compositions.float().double()  # as the trees were grown
        tree = torch.arange(len(self.feature), device=asked.device)
        node = torch.zeros(len(asked), len(tree), dtype=torch.int64, device=asked.device)
        for _ in range(self.depth):  # leaves stay; to ask whether all are there would wait for the device
            goes_left = asked.gather(1, self.feature[tree, node].long()) <= self.threshold[tree, node]
            node = torch.where(goes_left, self.children_left[tree, node], self.children_right[tree, node]).long()
        samples = self.samples_of_alloys
        counts = torch.zeros(len(asked), len(samples), dtype=torch.int64, device=asked.device)
        counts.scatter_add_(1, self.group[tree, node].long(), torch.ones_like(node))
        return counts[:, self.sample_to_alloy].double() / (len(tree) * samples[self.sample_to_alloy])

    def predict_block(self, compositions: Float[Tensor, "b e"]) -> PredictedBlock:
        """Blend the spectra at the leaves."""
        return PredictedBlock((self.blend(compositions).float() @ self.known.spectra)[None, :, None])

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict the mean of the trees, and the standard deviation of the spectra at the leaves reached."""
        means: list[Tensor] = []
        stds: list[Tensor] = []
        for block in blocks_of(compositions, self.feature.device):
            shares, spectra = self.blend(block), self.known.spectra.double()
            means.append(self.predict_block(block).mean)
            stds.append((shares @ spectra.square() - (shares @ spectra).square()).clamp(min=0).sqrt())
        return Prediction(on_cpu(means), None, on_cpu(stds))

    def draw_block(self, compositions: Float[Tensor, "b e"], stream: torch.Generator, *, alike: bool = False) -> None:
        """Draw nothing: the spectra at the leaves are of other alloys."""

    def save(self) -> Saved:
        """Return the tables."""
        return Saved({field.name: getattr(self, field.name) for field in fields(self) if field.name != "known"}, {})
