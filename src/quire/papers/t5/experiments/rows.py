"""The rows of the paper's tables: what each one changes, and what it reached there.

Columns: GLUE, CNN/DailyMail ROUGE-2, SQuAD exact, SuperGLUE, and BLEU of English to German, French
and Romanian; validation parts. None where the paper gives no number.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

COLUMNS = ("glue", "cnndm", "squad", "sglue", "ende", "enfr", "enro")
SPREAD = (0.235, 0.065, 0.343, 0.416, 0.112, 0.090, 0.108)
"""Standard deviations of the baseline over ten runs (table 1)."""
TASKS = {
    "glue": ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"),
    "cnndm": ("cnn_dailymail",),
    "squad": ("squad",),
    "sglue": ("boolq", "cb", "copa", "multirc", "record", "superglue_rte", "wic", "wsc"),
    "ende": ("wmt_en_de",),
    "enfr": ("wmt_en_fr",),
    "enro": ("wmt_en_ro",),
}
"""Tasks of each column, by their names in `published.TASKS`."""

NOTHING: Mapping[str, Any] = MappingProxyType({})
Numbers = tuple[float | None, ...]


class Row(NamedTuple):
    """One row of a table.

    Args:
        paper: Its numbers.
        net: What it changes of the net.
        noise: Of the objective.
        schedule: Factors of steps and batch size.
        repeats: How often the text is read.
        corpus: Which text, where the user has several.
        method: How it is fine-tuned: a method of `finetune`, "mixture" for one model of all tasks,
            "mixture_then_all" for each task after that, "without_then_all" where the task's column
            was left out before.
        adapter: Width of adapters.
        mix: What it changes of `multitask.Mix`.
        members: Models whose logits are averaged.
        separate: Whether each of them is pre-trained by itself.
        skip: No pre-training.
    """

    paper: Numbers
    net: Mapping[str, Any] = NOTHING
    noise: Mapping[str, Any] = NOTHING
    schedule: tuple[int, int] = (1, 1)
    repeats: int = 0
    corpus: str = "c4"
    method: str = "all"
    adapter: int = 32
    mix: Mapping[str, Any] = NOTHING
    members: int = 1
    separate: bool = False
    skip: bool = False


BASE: Numbers = (83.28, 19.24, 80.88, 71.36, 26.98, 39.82, 27.65)
IID = {"name": "replace_spans"}
"""The baseline's objective: independent noise whose runs are replaced."""
LM = {"name": "prefix_lm"}
TWICE = {"dim": 1024, "hidden": 4096, "heads": 16, "layers": 16}
FOUR = {"dim": 1024, "hidden": 4096, "heads": 16, "layers": 32}

SIZES_OF = ("dim", "hidden", "heads", "layers", "head_dim")

ROWS: dict[str, dict[str, Row]] = {
    "baseline": {  # table 1
        "baseline": Row(BASE, noise=IID),
        "no_pretraining": Row((66.22, 17.60, 50.31, 53.04, 25.86, 39.77, 24.04), skip=True),
    },
    "architecture": {  # table 2
        "enc_dec": Row(BASE, noise=IID),
        "enc_dec_shared": Row((82.81, 18.78, 80.63, 70.73, 26.72, 39.03, 27.46),
                              {"architecture": "shared"}, IID),
        "half_layers": Row((80.88, 18.97, 77.59, 68.42, 26.38, 38.40, 26.95), {"layers": 6}, IID),
        "one_stack": Row((74.70, 17.93, 61.14, 55.02, 25.09, 35.28, 25.86),
                      {"architecture": "causal"}, IID),
        "one_stack_prefix": Row((81.82, 18.61, 78.94, 68.11, 26.43, 37.98, 27.39),
                      {"architecture": "prefix"}, IID),
        "enc_dec_lm": Row((79.56, 18.59, 76.02, 64.29, 26.27, 39.17, 26.86), noise=LM),
        "shared_lm": Row((79.60, 18.13, 76.35, 63.50, 26.62, 39.17, 27.05),
                         {"architecture": "shared"}, LM),
        "half_layers_lm": Row((78.67, 18.26, 75.32, 64.06, 26.13, 38.42, 26.89),
                              {"layers": 6}, LM),
        "causal_lm": Row((73.78, 17.54, 53.81, 56.51, 25.23, 34.31, 25.38),
                         {"architecture": "causal"}, LM),
        "prefix_lm_lm": Row((79.68, 17.84, 76.87, 64.86, 26.28, 37.51, 26.76),
                            {"architecture": "prefix"}, LM),
    },
    "objective": {  # tables 4 and 5
        "prefix_lm": Row((80.69, 18.94, 77.99, 65.27, 26.86, 39.73, 27.49), noise=LM),
        "bert": Row((82.96, 19.17, 80.65, 69.85, 26.78, 40.03, 27.41), noise={"name": "bert"}),
        "deshuffling": Row((73.17, 18.59, 67.61, 58.47, 26.11, 39.30, 25.62),
                           noise={"name": "deshuffling"}),
        "mass": Row((82.32, 19.16, 80.10, 69.28, 26.79, 39.89, 27.55), noise={"name": "mass"}),
        "replace_spans": Row(BASE, noise=IID),
        "drop": Row((84.44, 19.31, 80.52, 68.67, 27.07, 39.76, 27.82), noise={"name": "drop"}),
    },
    "rate": {  # table 6
        "rate_10": Row((82.82, 19.00, 80.38, 69.55, 26.87, 39.28, 27.44),
                       noise=IID | {"rate": 0.10}),
        "rate_15": Row(BASE, noise=IID),
        "rate_25": Row((83.00, 19.54, 80.96, 70.48, 27.04, 39.83, 27.47),
                       noise=IID | {"rate": 0.25}),
        "rate_50": Row((81.27, 19.32, 79.80, 70.33, 27.01, 39.90, 27.49),
                       noise=IID | {"rate": 0.50}),
    },
    "span": {  # table 7
        "iid": Row(BASE, noise=IID),
        "span_2": Row((83.54, 19.39, 82.09, 72.20, 26.76, 39.99, 27.63), noise={"mean": 2.0}),
        "span_3": Row((83.49, 19.62, 81.84, 72.53, 26.86, 39.65, 27.62), noise={"mean": 3.0}),
        "span_5": Row((83.40, 19.24, 82.05, 72.23, 26.88, 39.40, 27.53), noise={"mean": 5.0}),
        "span_10": Row((82.85, 19.33, 81.84, 70.44, 26.79, 39.49, 27.69), noise={"mean": 10.0}),
    },
    "corpus": {  # table 8
        "c4": Row(BASE, noise=IID),
        "c4_unfiltered": Row((81.46, 19.14, 78.78, 68.04, 26.55, 39.34, 27.21), noise=IID,
                             corpus="c4_unfiltered"),
        "realnews": Row((83.83, 19.23, 80.39, 72.38, 26.75, 39.90, 27.48), noise=IID,
                        corpus="realnews"),
        "webtext": Row((84.03, 19.31, 81.42, 71.40, 26.80, 39.74, 27.59), noise=IID,
                       corpus="webtext"),
        "wikipedia": Row((81.85, 19.31, 81.29, 68.01, 26.94, 39.69, 27.67), noise=IID,
                         corpus="wikipedia"),
        "wikipedia_books": Row((83.65, 19.28, 82.08, 73.24, 26.77, 39.63, 27.57), noise=IID,
                               corpus="wikipedia_books"),
    },
    "repetition": {  # table 9
        "once": Row(BASE, noise=IID),
        "repeat_64": Row((82.87, 19.19, 80.97, 72.03, 26.83, 39.74, 27.63), noise=IID, repeats=64),
        "repeat_256": Row((82.62, 19.20, 79.78, 69.97, 27.02, 39.71, 27.33), noise=IID,
                          repeats=256),
        "repeat_1024": Row((79.55, 18.57, 76.27, 64.76, 26.38, 39.56, 26.80), noise=IID,
                           repeats=1024),
        "repeat_4096": Row((76.34, 18.33, 70.92, 59.29, 26.37, 38.84, 25.81), noise=IID,
                           repeats=4096),
    },
    "tuning": {  # tables 10 and 16
        "all_weights": Row(BASE, noise=IID),
        "adapters_32": Row((80.52, 15.08, 79.32, 60.40, 13.84, 17.88, 15.54), noise=IID,
                           method="adapters", adapter=32),
        "adapters_128": Row((81.51, 16.62, 79.47, 63.03, 19.83, 27.50, 22.63), noise=IID,
                            method="adapters", adapter=128),
        "adapters_512": Row((81.54, 17.78, 79.18, 64.30, 23.45, 33.98, 25.81), noise=IID,
                            method="adapters", adapter=512),
        "adapters_2048": Row((82.62, 18.30, 79.40, 68.61, 25.64, 36.92, 26.93), noise=IID,
                             method="adapters", adapter=2048),
        "gradual": Row((82.50, 18.95, 79.17, 70.79, 26.71, 39.02, 26.93), noise=IID,
                       method="gradual"),
    },
    "mixing": {  # table 11
        name: Row(paper, noise=IID, method="mixture", mix=mix)
        for name, paper, mix in (
            ("equal", (76.13, 19.02, 76.51, 63.37, 23.89, 34.31, 26.78), {"mixing": "equal"}),
            ("k_16", (80.45, 19.04, 77.25, 69.95, 24.35, 34.99, 27.10), {"limit": 2**16}),
            ("k_17", (81.56, 19.12, 77.00, 67.91, 24.36, 35.00, 27.25), {"limit": 2**17}),
            ("k_18", (81.67, 19.07, 78.17, 67.94, 24.57, 35.19, 27.39), {"limit": 2**18}),
            ("k_19", (81.42, 19.24, 79.78, 67.30, 25.21, 36.30, 27.76), {"limit": 2**19}),
            ("k_20", (80.80, 19.24, 80.36, 67.38, 25.66, 36.93, 27.68), {"limit": 2**20}),
            ("k_21", (79.83, 18.79, 79.50, 65.10, 25.82, 37.22, 27.13), {"limit": 2**21}),
            ("t_2", (81.90, 19.28, 79.42, 69.92, 25.42, 36.72, 27.20), {"temperature": 2.0}),
            ("t_4", (80.56, 19.22, 77.99, 69.54, 25.04, 35.82, 27.45), {"temperature": 4.0}),
            ("t_8", (77.21, 19.10, 77.14, 66.07, 24.55, 35.35, 27.17), {"temperature": 8.0}),
        )
    },
    "multitask": {  # table 12
        "apart": Row(BASE, noise=IID),
        "one_model": Row((81.42, 19.24, 79.78, 67.30, 25.21, 36.30, 27.76), noise=IID,
                         method="mixture", mix={"limit": 2**19, "unsupervised": 0.5}, skip=True),
        "then_apart": Row((83.11, 19.12, 80.26, 71.03, 27.08, 39.80, 28.07), noise=IID,
                          method="mixture_then_all",
                          mix={"limit": 2**19, "unsupervised": 0.5}, skip=True),
        "leave_one_out": Row((81.98, 19.05, 79.97, 71.68, 26.93, 39.79, 27.87), noise=IID,
                             method="without_then_all",
                             mix={"limit": 2**19, "unsupervised": 0.5}, skip=True),
        "supervised": Row((79.93, 18.96, 77.38, 65.36, 26.81, 40.13, 28.04), noise=IID,
                          method="mixture_then_all", mix={"limit": 2**19}, skip=True),
    },
    "scaling": {  # table 13
        "times_1": Row(BASE, noise=IID),
        "steps_4": Row((85.33, 19.33, 82.45, 74.72, 27.08, 40.66, 27.93), noise=IID,
                       schedule=(4, 1)),
        "batch_4": Row((84.60, 19.42, 82.52, 74.64, 27.07, 40.60, 27.84), noise=IID,
                       schedule=(1, 4)),
        "size_2_steps_2": Row((86.18, 19.66, 84.18, 77.18, 27.52, 41.03, 28.19), TWICE, IID,
                              schedule=(2, 1)),
        "size_4": Row((85.91, 19.73, 83.86, 78.04, 27.47, 40.71, 28.10), FOUR, IID),
        "ensemble_4": Row((84.77, 20.10, 83.09, 71.74, 28.05, 40.53, 28.57), noise=IID,
                          members=4, separate=True),
        "ensemble_4_tuned": Row((84.05, 19.57, 82.36, 71.55, 27.55, 40.22, 28.09), noise=IID,
                                members=4),
    },
    "final": {  # tables 14 and 15; those of table 14 are of the test parts
        "baseline_1t": Row((84.80, 19.62, 83.01, 73.90, 27.46, 40.30, 28.34), schedule=(2, 16)),
        "t5_base": Row((85.97, 20.90, 85.44, 75.64, 28.37, 41.37, 28.98), schedule=(2, 16),
                       method="mixture_then_all", mix={"limit": 2**19, "unsupervised": 0.5}),
    }
    | {
        f"test_{name}": Row(paper, dict(zip(SIZES_OF, size, strict=True)), schedule=(2, 16),
                            method="mixture_then_all",
                            mix={"limit": 2**19, "unsupervised": 0.5}, skip=True)
        for name, size, paper in (
            ("small", (512, 2048, 8, 6, 64), (77.4, None, 79.10, 63.3, 26.7, 36.0, 26.8)),
            ("base", (768, 3072, 12, 12, 64), (82.7, 20.34, 85.44, 76.2, 30.9, 41.2, 28.0)),
            ("large", (1024, 4096, 16, 24, 64), (86.4, None, 86.66, 82.3, 32.0, 41.5, 28.1)),
            ("3b", (1024, 16384, 32, 24, 128), (88.5, None, 88.53, 86.4, 31.8, 42.6, 28.2)),
            ("11b", (1024, 65536, 128, 24, 128), (90.3, 21.55, 91.26, 88.9, 32.1, 43.4, 28.1)),
        )
    },
}  # fmt: skip
"""Rows by factor, then by name."""
