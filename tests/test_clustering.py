"""Who the speakers are, over any recording."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from api.inference.base import Floats
from api.inference.contracts import Clustering
from api.recognition.clustering import SpeakerClusters, assign

DIMENSION = 64
NOISE = 0.3
CENTROID = Clustering()
VBX = Clustering(method="vbx", threshold=0.6, plda_variances=[NOISE**-2] * DIMENSION)

seeds = st.integers(0, 2**32 - 1)
# Embeddings of each of up to six speakers, enough for the least to count.
sizes = st.lists(st.integers(12, 60), min_size=1, max_size=6)


def voices(sizes: list[int], seed: int, noise: float = NOISE) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Embeddings around orthogonal voices, of any length and in any order, and whose they are."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(DIMENSION, DIMENSION)))[0]
    speakers = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    embeddings = directions[speakers] + noise / np.sqrt(DIMENSION) * random.normal(size=(len(speakers), DIMENSION))
    return (embeddings * random.uniform(0.5, 2, size=(len(speakers), 1))).astype(np.float32), speakers


def plda(embeddings: Floats) -> Floats:
    """A speaker's own variance, that of `voices` by default, becomes one."""
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    features: Floats = (embeddings / lengths * np.sqrt(DIMENSION) / NOISE).astype(np.float32)
    return features


def nearest(embeddings: Floats, centroids: Floats) -> npt.NDArray[np.int16]:
    labels = assign(embeddings[:, None], np.ones((len(embeddings), 1), dtype=bool), centroids, constrained=False)
    return labels.ravel()


def find_speakers(
    embeddings: Floats,
    policy: Clustering,
    *,
    features: Floats | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
) -> Floats:
    clusters = SpeakerClusters(policy, min_speakers=min_speakers, max_speakers=max_speakers)
    clusters.push(embeddings, features)
    return clusters.finish()


def same_partition(ones: npt.NDArray[Any], others: npt.NDArray[Any]) -> bool:
    pairs = set(zip(ones.tolist(), others.tolist(), strict=True))
    return len(pairs) == len(set(ones.tolist())) == len(set(others.tolist()))


def in_order(centroids: Floats) -> Floats:
    """By their first coordinate, which no two share."""
    ordered: Floats = centroids[np.argsort(centroids[:, 0])]
    return ordered


@pytest.mark.parametrize("policy", [CENTROID, VBX])
@pytest.mark.parametrize("block", [1500, 40])
@settings(max_examples=25)
@given(sizes, seeds)
def test_speakers_are_found(policy: Clustering, block: int, sizes: list[int], seed: int) -> None:
    embeddings, speakers = voices(sizes, seed)
    clusters = SpeakerClusters(policy, block=block)
    clusters.push(embeddings, plda(embeddings))
    centroids = clusters.finish()
    assert len(centroids) == len(sizes)
    assert same_partition(nearest(embeddings, centroids), speakers)
    means = np.stack([embeddings[speakers == speaker].mean(axis=0) for speaker in range(len(sizes))])
    np.testing.assert_allclose(in_order(centroids), in_order(means), atol=1e-3)


@settings(max_examples=60)
@given(st.integers(2, 120), st.integers(1, 5), st.floats(0.1, 1.5), seeds)
def test_it_is_centroid_linkage(count: int, speakers: int, noise: float, seed: int) -> None:
    embeddings, _ = voices([count // speakers + 1] * speakers, seed, noise)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = fcluster(linkage(unit, "centroid"), CENTROID.threshold, "distance")
    means = np.stack([embeddings[labels == label].mean(axis=0) for label in np.unique(labels)])
    centroids = find_speakers(embeddings, Clustering(min_cluster_size=1))
    np.testing.assert_allclose(in_order(centroids), in_order(means), atol=1e-5)


@settings(max_examples=15)
@given(sizes.filter(lambda sizes: sum(sizes) >= 40), st.integers(0, 10), seeds)
def test_the_seldom_heard_are_no_speakers(sizes: list[int], strangers: int, seed: int) -> None:
    """Each is counted with the speaker they sound like most."""
    embeddings, speakers = voices([*sizes, *[1] * strangers], seed)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = np.stack([unit[speakers == speaker].mean(axis=0) for speaker in range(len(sizes))])
    joined = np.where(speakers < len(sizes), speakers, nearest(unit, directions))
    means = np.stack([embeddings[joined == speaker].mean(axis=0) for speaker in range(len(sizes))])
    np.testing.assert_allclose(in_order(find_speakers(embeddings, CENTROID)), in_order(means), atol=1e-5)


@settings(max_examples=15)
@given(st.integers(50, 300), seeds)
def test_a_crowd_of_strangers_hides_nobody(strangers: int, seed: int) -> None:
    """Not even where there are more of them than a block can hold."""
    known, speakers = voices([150, 100, 60], seed)
    random = np.random.default_rng(seed)
    everybody = np.concatenate([known, random.normal(size=(strangers, DIMENSION)).astype(np.float32)])
    clusters = SpeakerClusters(CENTROID, block=40)
    clusters.push(random.permutation(everybody))
    centroids = clusters.finish()
    assert len(centroids) == 3
    assert same_partition(nearest(known, centroids), speakers)


@settings(max_examples=25)
@given(st.integers(100, 300), st.floats(0.2, 0.6), seeds)
def test_many_blocks_are_as_one(count: int, noise: float, seed: int) -> None:
    """Where speakers drift, and one has three quarters of the time."""
    embeddings, speakers = voices([count, count // 6, count // 6], seed, noise)
    drift = np.random.default_rng(seed).normal(size=(3, DIMENSION)) / np.sqrt(DIMENSION) * 0.6
    embeddings += (np.linspace(0, 1, len(embeddings))[:, None] * drift[speakers]).astype(np.float32)
    found = []
    for block in (1500, 100):
        clusters = SpeakerClusters(CENTROID, block=block)
        clusters.push(embeddings)
        found.append(clusters.finish())
    assert same_partition(nearest(embeddings, found[0]), nearest(embeddings, found[1]))


@pytest.mark.parametrize("policy", [CENTROID, VBX])
@settings(max_examples=60)
@given(
    st.integers(1, 70),
    st.sampled_from([0.0, 0.3, 2.0]),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from([1500, 20]),
    seeds,
)
def test_bounds_are_kept(
    policy: Clustering, count: int, noise: float, fewest: int, more: int, block: int, seed: int
) -> None:
    """Also of embeddings that are all the same, or zero."""
    embeddings, _ = voices([count, *[1] * (seed % 3)], seed, noise)
    embeddings[: seed % 4] = 0
    clusters = SpeakerClusters(policy, min_speakers=fewest, max_speakers=fewest + more, block=block)
    clusters.push(embeddings, plda(embeddings))
    centroids = clusters.finish()
    assert min(fewest, len(embeddings)) <= len(centroids) <= min(fewest + more, len(embeddings))
    assert np.isfinite(centroids).all()


@pytest.mark.parametrize("policy", [Clustering(threshold=0.1), msgspec.structs.replace(VBX, threshold=2.0)])
@settings(max_examples=20)
@given(st.lists(st.integers(12, 60), min_size=2, max_size=4), seeds)
def test_a_known_number_helps(policy: Clustering, sizes: list[int], seed: int) -> None:
    """Where the threshold is so wrong that the policy by itself finds one."""
    embeddings, speakers = voices(sizes, seed, noise=0.6)
    features = plda(embeddings)
    assert len(find_speakers(embeddings, policy, features=features)) == 1
    centroids = find_speakers(embeddings, policy, features=features, min_speakers=len(sizes), max_speakers=len(sizes))
    assert same_partition(nearest(embeddings, centroids), speakers)


@pytest.mark.parametrize("policy", [CENTROID, VBX])
def test_hardly_any(policy: Clustering) -> None:
    none = np.zeros((0, DIMENSION), dtype=np.float32)
    assert find_speakers(none, policy, features=none).shape == (0, 0)
    one = np.arange(DIMENSION, dtype=np.float32)[None]
    np.testing.assert_array_equal(find_speakers(one, policy, features=one, min_speakers=3), one)
    with pytest.raises(ValueError, match="no number"):
        SpeakerClusters(policy, min_speakers=3, max_speakers=2)


@settings(max_examples=25)
@given(st.integers(20, 150), st.floats(0.3, 1.5), seeds)
def test_loudness_and_order_do_not_matter(count: int, noise: float, seed: int) -> None:
    embeddings, _ = voices([count, 30], seed, noise)
    random = np.random.default_rng(seed)
    louder = embeddings * np.float32(2) ** random.integers(-8, 8, size=(len(embeddings), 1)).astype(np.float32)
    found = len(find_speakers(embeddings, CENTROID))
    assert len(find_speakers(louder, CENTROID)) == found
    assert len(find_speakers(random.permutation(embeddings), CENTROID)) == found


@settings(max_examples=25)
@given(st.lists(st.integers(0, 60), max_size=10), st.floats(0.3, 1.5), seeds)
def test_portions_do_not_matter(portions: list[int], noise: float, seed: int) -> None:
    embeddings, _ = voices([100, 50, 30], seed, noise)
    found = []
    for sizes in ([], portions):
        clusters = SpeakerClusters(CENTROID, block=50)
        for part in np.split(embeddings, np.cumsum(sizes, dtype=int)):
            clusters.push(part)
        found.append(clusters.finish())
    np.testing.assert_array_equal(found[0], found[1])


@settings(max_examples=60)
@given(st.integers(0, 12), st.integers(0, 5), st.booleans(), seeds)
def test_assignment(windows: int, speakers: int, constrained: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(windows, 3, 4)).astype(np.float32)
    centroids = random.normal(size=(speakers, 4)).astype(np.float32)
    active = random.random((windows, 3)) < 0.8
    labels = assign(embeddings, active, centroids, constrained=constrained)
    assert labels.dtype == np.int16
    assert ((labels >= 0) == (active & (speakers > 0))).all()
    for window in range(windows if speakers else 0):
        heard = embeddings[window, active[window]]
        likeness = (heard @ centroids.T) / np.linalg.norm(heard, axis=1)[:, None] / np.linalg.norm(centroids, axis=1)
        given_to = labels[window, active[window]]
        rows = np.arange(len(heard))
        if not constrained:
            np.testing.assert_array_equal(given_to, likeness.argmax(axis=1))
        elif len(heard) <= speakers:
            assert len(set(given_to.tolist())) == len(heard)
            best = max(likeness[rows, list(choice)].sum() for choice in permutations(range(speakers), len(heard)))
            assert likeness[rows, given_to].sum() == pytest.approx(best, abs=1e-5)
        else:
            assert set(given_to.tolist()) == set(range(speakers))


@settings(max_examples=15)
@given(sizes, seeds)
def test_vbx_joins_what_the_threshold_has_split(sizes: list[int], seed: int) -> None:
    embeddings, speakers = voices(sizes, seed)
    policy = msgspec.structs.replace(VBX, threshold=0.3)
    assert len(find_speakers(embeddings, Clustering(threshold=0.3, min_cluster_size=1))) > len(sizes)
    centroids = find_speakers(embeddings, policy, features=plda(embeddings))
    assert len(centroids) == len(sizes)
    assert same_partition(nearest(embeddings, centroids), speakers)
