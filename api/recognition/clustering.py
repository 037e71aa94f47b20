"""Embeddings of local speakers in, speakers out: who a recording's voices are, whatever its length.

Pure and incremental. While the embeddings fit into one block, this is what pyannote.audio 4.0.7 computes. When they do
not, the nearest of the block are merged, as the whole linkage would begin too, until half of it is free again; what is
merged keeps its weight. So time is linear in the length of the recording, and nothing is ever N × N but a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from api.inference.base import Floats
from api.inference.contracts import Clustering

Doubles = npt.NDArray[np.float64]
Halfs = npt.NDArray[np.float16]
Integers = npt.NDArray[np.intp]
Labels = npt.NDArray[np.int16]
Real = TypeVar("Real", np.float32, np.float64)

BLOCK: Final = 1500
"""So many embeddings are clustered as one: 25 minutes of one voice at a step of 1 s. It takes 0.1 s and 40 MB."""
ROWS: Final = 2048
"""Where a pass goes over all embeddings: so many at once."""

LOST: Final = -1
K_MEANS_STARTS: Final = 3
K_MEANS_ITERATIONS: Final = 100
MIN_CLUSTER_SHARE: Final = 0.1
VBX_ITERATIONS: Final = 20
VBX_TOLERANCE: Final = 1e-4
VBX_CERTAINTY: Final = 7.0
"""Logit of an embedding's first speaker; that of the others is 0."""
VBX_MIN_PRIOR: Final = 1e-7
"""A speaker below it has died out."""


def assign(
    embeddings: Floats | Halfs, active: npt.NDArray[np.bool_], centroids: Floats, *, constrained: bool
) -> Labels:
    """The nearest centroid by cosine of each local speaker (windows, local speakers, d); -1 for who is not active.

    `constrained`: those of one window get different ones, as alike in sum as can be, while there are enough.
    """
    labels = np.full(active.shape, -1, dtype=np.int16)
    if not len(centroids):
        return labels
    for rows in _portions(len(embeddings)):
        likeness = _unit(embeddings[rows].astype(np.float32)) @ _unit(centroids).T
        block = labels[rows]
        block[active[rows]] = likeness.argmax(axis=2)[active[rows]]
        if constrained:
            ordered = np.sort(block, axis=1)
            shared = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
            for window in np.flatnonzero(shared.any(axis=1)):
                speakers = np.flatnonzero(block[window] >= 0)
                block[window, speakers] = _different(likeness[window, speakers])
    return labels


def _different(likeness: Floats) -> Labels:
    """A column of (rows, columns) for each row, as large in sum as can be and as different as can be.

    Of the best such choices one takes each row's from its so many best columns as there are rows.
    """
    rows = len(likeness)
    candidates = np.argsort(-likeness, axis=1)[:, :rows]
    choices = np.array(list(product(*candidates)))
    distinct = np.array([len(set(choice)) for choice in choices.tolist()])
    sums = likeness[np.arange(rows), choices].sum(axis=1)
    return np.asarray(choices[np.lexsort((sums, distinct))[-1]], dtype=np.int16)


class SpeakerClusters:
    """Collects the trustworthy embeddings of a recording, in order of time; their portions make no difference.

    What it keeps is one block of clusters and, for `vbx` alone, the embeddings and features themselves, as float16.
    """

    def __init__(
        self, policy: Clustering, *, min_speakers: int = 1, max_speakers: int | None = None, block: int = BLOCK
    ) -> None:
        if max_speakers is not None and min_speakers > max_speakers:
            raise ValueError(f"no number of speakers is at least {min_speakers} and at most {max_speakers}")
        self._policy = policy
        self._min_speakers = min_speakers
        self._max_speakers = max_speakers
        self._block = block
        self._count = 0
        self._parts: list[_Clusters] = []
        self._held = 0
        self._items: list[tuple[Halfs, Halfs]] = []

    def push(self, embeddings: Floats, features: Floats | None = None) -> None:
        """Embeddings (n, d), finite, and for `vbx` their PLDA features (n, p)."""
        if self._policy.method == "vbx":
            assert features is not None
            self._items.append((embeddings.astype(np.float16), features.astype(np.float16)))
        self._count += len(embeddings)
        while len(embeddings):
            if self._held == self._block:
                self._condense()
            room = self._block - self._held
            self._parts.append(_Clusters.of(embeddings[:room]))
            self._held += len(self._parts[-1])
            embeddings = embeddings[room:]

    def finish(self) -> Floats:
        """Centroids (k, d) in no particular order, k within the bounds but no more than embeddings; (0, 0) of none."""
        if not self._count:
            return np.zeros((0, 0), dtype=np.float32)
        clusters = _Clusters.concatenated(self._parts)
        tree = _link(clusters, len(clusters) - 1)
        fewest = min(self._min_speakers, len(clusters))
        most = min(self._max_speakers or len(clusters), len(clusters))
        if self._policy.method == "vbx" and self._count > 1:
            centroids = self._vbx(clusters, tree)
            wanted = min(max(len(centroids), fewest), most)
            if len(centroids) == wanted:
                return centroids
            return clusters.merged(_k_means(clusters, wanted)).centroids
        return self._speakers(clusters, tree, fewest, most).centroids

    def _condense(self) -> None:
        """Empty half of the block with as few merges as that takes, none of them beyond the threshold.

        If that is not enough, forget the lightest clusters, the oldest first: who has been alone for so long is nobody.
        """
        clusters = _Clusters.concatenated(self._parts)
        tree = _link(clusters, self._block // 2)
        clusters = clusters.merged(tree.labels(tree.merges_within(self._policy.threshold)))
        heaviest = np.argsort(clusters.weights, kind="stable")[-(self._block // 2) :]
        clusters = clusters.take(heaviest)
        self._parts, self._held = [clusters], len(clusters)

    def _speakers(self, clusters: _Clusters, tree: _Tree, fewest: int, most: int) -> _Clusters:
        """Cut at the threshold, or as near to it as the bounds allow; small clusters join the most alike large one."""
        min_size = min(self._policy.min_cluster_size, max(1, round(MIN_CLUSTER_SHARE * self._count)))
        threshold = self._policy.threshold
        merges: int | None = tree.merges_within(threshold)
        found = int(tree.large_after(min_size)[merges])
        wanted = min(max(found, fewest), most)
        if found != wanted:
            merges = tree.merges_for(wanted, min_size, threshold)
        if merges is None:
            return clusters.merged(_k_means(clusters, wanted))
        return clusters.merged(tree.labels(merges)).without_smaller_than(min_size)

    def _vbx(self, clusters: _Clusters, tree: _Tree) -> Floats:
        embeddings = np.concatenate([embeddings for embeddings, _ in self._items])
        features = np.concatenate([features for _, features in self._items])
        if self._count == len(clusters):
            labels = tree.labels(tree.merges_within(self._policy.threshold))
        else:
            centroids = self._speakers(clusters, tree, 1, len(clusters)).centroids
            active = np.ones((self._count, 1), dtype=np.bool_)
            labels = assign(embeddings[:, None], active, centroids, constrained=False)[:, 0].astype(np.intp)
        return _vbx(embeddings, features, labels, self._policy)


@dataclass(frozen=True, slots=True)
class _Clusters:
    """Sums of embeddings and of their unit vectors (m, d), and of how many (m,); alike in weight, the oldest first."""

    sums: Doubles
    units: Doubles
    weights: Doubles

    @classmethod
    def of(cls, embeddings: Floats) -> _Clusters:
        return cls(embeddings.astype(np.float64), _unit(embeddings).astype(np.float64), np.ones(len(embeddings)))

    @classmethod
    def concatenated(cls, parts: list[_Clusters]) -> _Clusters:
        return cls(
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.units for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def centroids(self) -> Floats:
        return (self.sums / self.weights[:, None]).astype(np.float32)

    def take(self, chosen: Integers) -> _Clusters:
        return _Clusters(self.sums[chosen], self.units[chosen], self.weights[chosen])

    def merged(self, labels: Integers) -> _Clusters:
        """One cluster for each label 0, 1, 2, …"""
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
        grouped = self.take(order)
        return _Clusters(
            np.add.reduceat(grouped.sums, starts),
            np.add.reduceat(grouped.units, starts),
            np.add.reduceat(grouped.weights, starts),
        )

    def without_smaller_than(self, size: int) -> _Clusters:
        """The smaller ones join the larger one whose direction is nearest."""
        large = np.flatnonzero(self.weights >= size)
        nearest = (_unit(self.units) @ _unit(self.units[large]).T).argmax(axis=1)
        nearest[large] = np.arange(len(large))
        return self.merged(nearest)


@dataclass(frozen=True, slots=True)
class _Tree:
    """Merges of leaves with these weights, in their order.

    Cluster `absorbed` became part of cluster `survivor`, named after one of its leaves; `sizes` are of these two.
    """

    weights: Doubles
    survivor: Integers
    absorbed: Integers
    distances: Doubles
    sizes: Doubles

    def labels(self, merges: int) -> Integers:
        """Each leaf's cluster after so many merges, numbered 0, 1, 2, …"""
        root: Integers = np.arange(len(self.weights))
        for survivor, absorbed in zip(self.survivor[:merges][::-1], self.absorbed[:merges][::-1], strict=True):
            root[absorbed] = root[survivor]
        numbers: Integers = np.unique(root, return_inverse=True)[1]
        return numbers

    def merges_within(self, threshold: float) -> int:
        """Up to the first beyond it. What is nearer after that contains a pair that was too far apart."""
        beyond = np.flatnonzero(self.distances > threshold)
        return int(beyond[0]) if beyond.size else len(self.distances)

    def large_after(self, min_size: int) -> Integers:
        """How many clusters of at least that size there are after no merge, the first, the second, …"""
        born = (self.sizes.sum(axis=1) >= min_size).astype(np.intp) - (self.sizes >= min_size).sum(axis=1)
        large: Integers = np.concatenate([[(self.weights >= min_size).sum()], born]).cumsum()
        return large

    def merges_for(self, large: int, min_size: int, threshold: float) -> int | None:
        """The cut nearest to the threshold that has so many clusters of at least that size; None where none has."""
        formed = np.concatenate([[np.inf], self.sizes.sum(axis=1)])
        distances = np.concatenate([[0.0], self.distances])
        fitting = np.flatnonzero((self.large_after(min_size) == large) & (formed >= min_size))
        return int(fitting[np.abs(distances[fitting] - threshold).argmin()]) if fitting.size else None


def _link(clusters: _Clusters, merges: int) -> _Tree:
    """Centroid linkage of the means of unit vectors: so many times, the nearest two become one.

    What scipy.cluster.hierarchy.linkage does, with weights, and without holding the interpreter for all of it.
    """
    weights = clusters.weights.copy()
    means = clusters.units / weights[:, None]
    apart = _squared_distances(means, means)
    np.fill_diagonal(apart, np.inf)
    neighbour = apart.argmin(axis=1)
    nearest = apart[np.arange(len(clusters)), neighbour]
    pairs = np.empty((merges, 2), dtype=np.intp)
    distances = np.empty(merges)
    sizes = np.empty((merges, 2))
    for merge in range(merges):
        one = int(nearest.argmin())
        while neighbour[one] == LOST:  # what it had been nearest to has moved away: `nearest` is only a lower bound
            neighbour[one] = apart[one].argmin()
            nearest[one] = apart[one, neighbour[one]]
            one = int(nearest.argmin())
        absorbed, survivor = sorted((one, int(neighbour[one])))
        squared = apart[survivor, absorbed]
        pairs[merge] = survivor, absorbed
        distances[merge] = np.sqrt(squared)
        sizes[merge] = weights[survivor], weights[absorbed]
        weights[survivor] += weights[absorbed]
        share = sizes[merge, 1] / weights[survivor]
        # Lance and Williams: how far the others are from the centroid of both.
        updated = (1 - share) * apart[survivor] + share * apart[absorbed] - share * (1 - share) * squared
        np.maximum(updated, 0, out=updated)
        updated[survivor] = np.inf
        apart[survivor] = apart[:, survivor] = updated
        apart[absorbed] = apart[:, absorbed] = nearest[absorbed] = np.inf
        neighbour[(neighbour == absorbed) | (neighbour == survivor)] = LOST
        neighbour[survivor] = updated.argmin()  # whom it has come nearer to than they know, it knows itself
        nearest[survivor] = updated[neighbour[survivor]]
    return _Tree(clusters.weights, pairs[:, 0], pairs[:, 1], distances, sizes)


def _k_means(clusters: _Clusters, number: int) -> Integers:
    """Label of each by the k-means of their unit vectors: so many labels, no more than there are clusters.

    The best of a few starts from seeds as far apart as in scikit-learn's KMeans (greedy k-means++), always the same.
    """
    points, weights = clusters.units / clusters.weights[:, None], clusters.weights
    random = np.random.default_rng(0)
    best, least = np.zeros(len(points), dtype=np.intp), np.inf
    for _ in range(K_MEANS_STARTS):
        centres = points[random.choice(len(points), size=1, p=weights / weights.sum())]
        gaps = _squared_distances(points, centres)[:, 0]
        while len(centres) < number:
            chances = weights * (gaps + 1e-12)
            seeds = random.choice(len(points), size=2 + int(np.log(number)), p=chances / chances.sum())
            reduced = np.minimum(gaps[:, None], _squared_distances(points, points[seeds]))
            chosen = (weights @ reduced).argmin()
            centres, gaps = np.concatenate([centres, points[seeds[chosen], None]]), reduced[:, chosen]
        labels = np.full(len(points), LOST)
        for _ in range(K_MEANS_ITERATIONS):
            before, gaps = labels, _squared_distances(points, centres)
            labels, gaps = gaps.argmin(axis=1), gaps.min(axis=1)
            for empty in np.setdiff1d(np.arange(number), labels):
                shared = np.bincount(labels, minlength=number)[labels] > 1
                labels[np.where(shared, gaps, -1).argmax()] = empty
            if (labels == before).all():
                break
            centres = (means := clusters.merged(labels)).units / means.weights[:, None]
        if weights @ gaps < least:
            best, least = labels, float(weights @ gaps)
    return best


def _squared_distances(ones: Doubles, others: Doubles) -> Doubles:
    apart: Doubles = -2 * ones @ others.T  # in place from here on: for a block it takes 18 MB
    apart += (ones**2).sum(axis=1)[:, None]
    apart += (others**2).sum(axis=1)
    return np.maximum(apart, 0, out=apart)


@dataclass(frozen=True, slots=True)
class _Voices:
    """A normal distribution of each speaker's place in PLDA space (k, p), and how much they speak (k,)."""

    means: Doubles
    spreads: Doubles
    priors: Doubles
    policy: Clustering

    @classmethod
    def of(cls, counts: Doubles, sums: Doubles, priors: Doubles, policy: Clustering) -> _Voices:
        """From how many features (k,) each speaker has, and their sums (k, p): equations 16 and 17."""
        variances = np.asarray(policy.plda_variances)
        scale = policy.fa / policy.fb
        spreads = 1 / (1 + scale * counts[:, None] * variances)
        return cls(scale * spreads * sums * np.sqrt(variances), spreads, priors, policy)

    def shares(self, features: Halfs) -> tuple[Doubles, float]:
        """Each speaker's share in each of the features (n, k), and their log-likelihood but for a constant: 23."""
        variances = np.asarray(self.policy.plda_variances)
        fit = features * np.sqrt(variances) @ self.means.T - 0.5 * (self.spreads + self.means**2) @ variances
        joint = self.policy.fa * fit + np.log(self.priors + 1e-8)
        most = joint.max(axis=1, keepdims=True)
        marginal = most + np.log(np.exp(joint - most).sum(axis=1, keepdims=True))
        return np.exp(joint - marginal), float(marginal.sum())

    def penalty(self) -> float:
        """How far the speakers are from what was known before: 25."""
        return -0.5 * self.policy.fb * float((np.log(self.spreads) - self.spreads - self.means**2 + 1).sum())


def _vbx(embeddings: Halfs, features: Halfs, labels: Integers, policy: Clustering) -> Floats:
    """Variational Bayes over PLDA features (n, p), from the speakers `labels` (n,) to those that are needed.

    Numbers of equations are those of Landini et al., "Bayesian HMM clustering of x-vector sequences (VBx) in speaker
    diarization", 2022; there are no transitions here, because windows overlap.
    """
    speakers = int(labels.max()) + 1
    counts, sums = np.zeros(speakers), np.zeros((speakers, features.shape[1]))
    certain = np.exp(VBX_CERTAINTY)
    for rows in _portions(len(features)):
        shares = np.where(labels[rows, None] == np.arange(speakers), certain, 1.0) / (certain + speakers - 1)
        counts += shares.sum(axis=0)
        sums += shares.T @ features[rows]
    priors, bound = np.full(speakers, 1 / speakers), -np.inf
    for _ in range(VBX_ITERATIONS):
        voices = _Voices.of(counts, sums, priors, policy)
        previous, bound = bound, -voices.penalty()
        counts, sums = np.zeros_like(counts), np.zeros_like(sums)
        for rows in _portions(len(features)):
            shares, likelihood = voices.shares(features[rows])
            counts += shares.sum(axis=0)
            sums += shares.T @ features[rows]
            bound += likelihood
        priors = counts / len(features)
        if bound - previous < VBX_TOLERANCE:
            break
    alive = priors > VBX_MIN_PRIOR
    spoken = np.zeros((int(alive.sum()), embeddings.shape[1]))
    for rows in _portions(len(features)):
        spoken += voices.shares(features[rows])[0][:, alive].T @ embeddings[rows]
    return (spoken / counts[alive, None]).astype(np.float32)


def _unit(vectors: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """In the direction of each vector along the last axis; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: npt.NDArray[Real] = vectors / np.where(lengths > 0, lengths, 1)
    return unit


def _portions(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))
