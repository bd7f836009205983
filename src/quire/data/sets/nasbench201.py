"""NAS-Bench-201: 15,625 cells, how well they learn, what they cost.

N cells, in the order of the official index.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset, versions
from quire.data.lines import read_csv

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The edges of a cell, from node to node, in the order of `operation`."""

_IMAGES = ("c10", "c100", "in16")
_ACCURACIES = (
    *(f"{images}_test_200" for images in _IMAGES),
    *(f"{images}_{part}_12" for images in _IMAGES for part in ("valid", "test")),
)
_OPERATIONS = tuple(f"op_{start}to{end}" for start, end in EDGES)
DATASET = Dataset(
    summary="all 15,625 cells of NAS-Bench-201: accuracies, parameters, FLOPs, 27 latencies",
    licence="MIT (NATS-Bench; the table of 200 epochs states none)",
    home="https://github.com/D-X-Y/NATS-Bench",
    layouts=(("nasbench201.csv.gz", "latency.npz"),),
    by_hand="nasbench201.csv.gz with index, arch_str, op_0to1 to op_2to3, c10_test_200, "
    "c100_test_200, in16_test_200, {c10,c100,in16}_{valid,test}_12, params_c10, flops_c10, "
    "flops_in16, and latency.npz with one array of 15,625 milliseconds a device",
    note="No validation accuracy at 200 epochs, no single seeds. Latencies near 0 of pixel3 and "
    "raspi4 are outliers.",
    known=versions(
        {
            "accuracies after 12 and 200 epochs, 27 devices": """
546b0beef2277c4d24fc2dddeb59df02b4658f313d9c02ed4d78cf65e3b4b63a  nasbench201.csv.gz
68292c2893f4ac84e5cfc3e1941d77bedaeee2e1aec6371532a39580d1c08c5f  latency.npz
""",
        }
    ),
)


@dataclass(frozen=True)
class Cells:
    """The cells of the search space.

    Args:
        architecture: The official strings, N of them.
        operation: (N, 6) int64, index of `OPERATIONS` on each of `EDGES`.
        accuracy: (N,) float64 by "<images>_<part>_<epochs>", percent.
        parameters: (N,) int64, with 10 classes.
        flops: (N,) int64 multiply-adds by "c10" (32x32) and "in16" (16x16).
        latency: (N,) float32 milliseconds by device.
    """

    architecture: tuple[str, ...]
    operation: NDArray[np.int64]
    accuracy: dict[str, NDArray[np.float64]]
    parameters: NDArray[np.int64]
    flops: dict[str, NDArray[np.int64]]
    latency: dict[str, NDArray[np.float32]]


def nasbench201(root: store.Root = None) -> Cells:
    """All cells of NAS-Bench-201, row i being the official index i.

    Accuracies: "c10" (CIFAR-10), "c100" (CIFAR-100), "in16" (ImageNet16-120), each "_test_200",
    "_valid_12" and "_test_12". Parameters: add 5,850 for CIFAR-100, 7,150 for ImageNet16-120.
    Raises DataMissing, and ValueError for a damaged file.
    """
    table_path, latency_path = store.files("nasbench201", root)
    costs = ("params_c10", "flops_c10", "flops_in16")
    table = read_csv(table_path, ("index", "arch_str", *_OPERATIONS, *_ACCURACIES, *costs))
    latency = read_npz(latency_path, ())
    try:
        index, parameters, c10, in16 = (
            np.array([int(entry) for entry in table[name]]) for name in ("index", *costs)
        )
        operation = np.array([[int(entry) for entry in table[name]] for name in _OPERATIONS]).T
        accuracy = {name: np.array([float(x) for x in table[name]]) for name in _ACCURACIES}
    except ValueError as error:
        raise ValueError(f"{table_path}: {error}") from None
    count = len(index)
    if not (index == np.arange(count)).all() or not set(np.unique(operation)) <= set(range(5)):
        raise ValueError(
            f"{table_path}: rows in the order of their index, operations 0..4 expected"
        )
    if any(values.shape != (count,) for values in latency.values()):
        raise ValueError(f"{latency_path}: {count} latencies a device expected")
    return Cells(
        tuple(table["arch_str"]),
        operation,
        accuracy,
        parameters,
        {"c10": c10, "in16": in16},
        latency,
    )
