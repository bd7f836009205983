"""Deep Residual Learning for Image Recognition (He, Zhang, Ren and Sun, 2015).

To read it: `resnet` (the nets; their blocks are in `quire.nn.residual`), `schedule`, `frozen`,
`testers` and `analysis` (how they are trained, tested and measured), `detection` and `weights`
(what for).
"""

# isort: off
from quire.papers.resnet.resnet import CifarResNet, ResNet, classify, initialise
from quire.papers.resnet.schedule import DivideOnPlateau, WarmUp
from quire.papers.resnet.frozen import FrozenBatchNorm, freeze_batch_norm
from quire.papers.resnet.testers import (
    fold,
    fully_convolutional_test,
    recalibrate,
    ten_crop_test,
    ten_crops,
)
from quire.papers.resnet.analysis import (
    count_macs,
    count_parameters,
    deletable,
    deleted,
    gradient_norms,
    layer_responses,
)
from quire.papers.resnet.detection import C4Detector, roi_align, roi_pool
from quire.papers.resnet.weights import export_weights, load_weights

__all__ = [
    "C4Detector",
    "CifarResNet",
    "DivideOnPlateau",
    "FrozenBatchNorm",
    "ResNet",
    "WarmUp",
    "classify",
    "count_macs",
    "count_parameters",
    "deletable",
    "deleted",
    "export_weights",
    "fold",
    "freeze_batch_norm",
    "fully_convolutional_test",
    "gradient_norms",
    "initialise",
    "layer_responses",
    "load_weights",
    "recalibrate",
    "roi_align",
    "roi_pool",
    "ten_crop_test",
    "ten_crops",
]
