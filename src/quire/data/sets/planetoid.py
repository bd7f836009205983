"""Planetoid's citation graphs: documents with words, topics and citations.

N documents, F features, E directed edges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset, versions

GRAPHS = ("cora", "citeseer", "pubmed_partial")
WHOLE = "pubmed"
"""A graph that no address offers in this form."""
DATASET = Dataset(
    summary="citation graphs with the public split: Cora, CiteSeer, and PubMed with few features",
    licence="MIT (the repository)",
    home="https://github.com/kimiyoung/planetoid",
    layouts=(tuple(f"{graph}.npz" for graph in GRAPHS),),
    by_hand="npz files of the repository's data/ind.*, which are pickles, with x_data, x_indices, "
    "x_indptr and x_shape (features in compressed rows), y, edge_index (2 x E, both directions), "
    "train_mask, val_mask and test_mask",
    note="pubmed_partial has features for 1,060 of its 19,717 documents: for methods that use the "
    "structure alone. The whole of it is read from pubmed.npz, put there by hand in the same form.",
    known=versions(
        {
            "from the repository's data/ind.*": """
f680a1199733db26bb51d346927c6390c4b2eb538ba5354ebc726221666623c6  cora.npz
9d5d342e33203ca5c02826d90b338b8df4ed4cf1e021e193f52e91f883c77fdb  citeseer.npz
6e4d4ca4b4ff899fe8b2646baaffae0e98e7275ac28a945f930c02c8617b3594  pubmed_partial.npz
""",
        }
    ),
)


@dataclass(frozen=True)
class Graph:
    """A citation graph.

    Args:
        feature: (N, F) float32, not normalised.
        label: (N,) int64.
        edge: (2, E) int64, both directions of every citation, without loops and duplicates.
        train: (N,) bool, the public split's training documents.
        val: (N,) bool, those to choose settings by.
        test: (N,) bool, those to report.
        has_feature: (N,) bool, False where a document's features are not known and its row is zero.
    """

    feature: NDArray[np.float32]
    label: NDArray[np.int64]
    edge: NDArray[np.int64]
    train: NDArray[np.bool_]
    val: NDArray[np.bool_]
    test: NDArray[np.bool_]
    has_feature: NDArray[np.bool_]


def planetoid(root: store.Root = None, graph: str = "cora") -> Graph:
    """A citation graph with the public split: 20 documents a class to train on, 500, 1,000.

    graph: "cora" (2,708 documents, 7 topics), "citeseer" (3,327, 6; the label of 15 isolated ones
    that are in no part is 0), "pubmed_partial" (19,717, 3), or "pubmed", which is put there by
    hand. Raises DataMissing, and ValueError for another graph or a damaged file.
    """
    if graph not in (*GRAPHS, WHOLE):
        raise ValueError(f"graph must be one of {', '.join((*GRAPHS, WHOLE))}, got {graph!r}")
    if graph == WHOLE:
        path = store.by_hand("planetoid", f"{WHOLE}.npz", DATASET.by_hand, root)
    else:
        path = store.files("planetoid", root)[GRAPHS.index(graph)]
    keys = ("x_data", "x_indices", "x_indptr", "x_shape", "y", "edge_index")
    masks = ("train_mask", "val_mask", "test_mask")
    read = read_npz(path, (*keys, *masks))
    count = len(read["y"])
    try:
        feature = np.zeros((count, int(read["x_shape"][1])), np.float32)
        row = np.repeat(np.arange(count), np.diff(read["x_indptr"]))
        feature[row, read["x_indices"]] = read["x_data"]
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: the features are not compressed rows ({error})") from error
    edge = read["edge_index"].astype(np.int64)
    inside = edge.ndim == 2 and len(edge) == 2 and ((edge >= 0) & (edge < count)).all()
    if not inside or any(read[mask].shape != (count,) for mask in masks):
        raise ValueError(f"{path}: features, labels, edges and masks do not fit together")
    has_feature = read.get("has_features", np.ones(count)).astype(bool)
    train, val, test = (read[mask].astype(bool) for mask in masks)
    return Graph(feature, read["y"].astype(np.int64), edge, train, val, test, has_feature)
