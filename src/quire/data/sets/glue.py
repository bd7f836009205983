"""GLUE: tasks of one or two sentences."""

from quire.data import store
from quire.data.catalogue import Dataset, versions
from quire.data.lines import Fields, Row, read_task

_PARTS = {
    "cola": ("train", "dev"),
    "mrpc": ("train", "test"),
    "rte": ("train", "dev", "test_unlabelled"),
    "sst2": ("train", "dev", "test"),
    "stsb": ("train", "dev", "test"),
    "wnli": ("train", "dev"),
}
DATASET = Dataset(
    summary="six tasks of GLUE: CoLA, MRPC, RTE, SST-2, STS-B and WNLI, as rows of sentences",
    licence="each task's own; research use",
    home="https://gluebenchmark.com/tasks",
    layouts=(tuple(f"{task}/{part}.jsonl.gz" for task, parts in _PARTS.items() for part in parts),),
    by_hand="gzipped JSON lines: cola and sst2 with sentence and label 0 or 1; "
    "mrpc and wnli with sentence1, sentence2 and label 0 or 1; rte with premise, hypothesis and "
    "label 'entailment' or 'not_entailment'; stsb with sentence1, sentence2 and score 0 to 5",
    note="MRPC has the original split: the rows of GLUE's dev part are in train, unmarked. SST-2 "
    "and STS-B have labelled test parts. QNLI, QQP and MNLI are not part of it.",
    known=versions(
        {
            "as published, as JSON lines": """
316623996f4fc93ba44a2545c460ee1be78a24bf3e9543fb399fca5d5a68ae4a  cola/train.jsonl.gz
4e0009c56457bd379145c3790657a774ca4bbaf518f8597973bbbfa695c793b1  cola/dev.jsonl.gz
2461a0d4773127c6833bba0e0eee6eb9cb5601132ba72663b8aff721401e460d  mrpc/train.jsonl.gz
909b4919eca9b49ad22238dfba9866625aadaff0e125d0e7a0aff8981434a35d  mrpc/test.jsonl.gz
88042340c5ad2508aac7a00d9683594ef78c672a884a11bdcab169d1b970bb6e  rte/train.jsonl.gz
607827ac35f21a4e923d738306717e98a20d03ca5cb08fbe856baf264ec749eb  rte/dev.jsonl.gz
2c6edd6c1fb15e44ec266df3c8590c144b6e4b560dcefd7da684fdc9701bdfdb  rte/test_unlabelled.jsonl.gz
c8e5d18ccc5620ced1a19cfa280da1b4e9bb4726516158026fb6270c203f6554  sst2/train.jsonl.gz
b4788f1e9c16d2f835a7e01dd5bb038ffa22c961013ac5003cd7148127dc0a10  sst2/dev.jsonl.gz
b74fa998baa08e1bf2fe837a0aa80dd38798953bee8f6d5fe3de1bf2ee983282  sst2/test.jsonl.gz
d8830a3847fdd129ea5abf5353e6a17b0a58ade363b50d683d6399f4c6b809c7  stsb/train.jsonl.gz
9e35bc54f36fbee434785a837d2b9b3c9ba957b834fbc55e31dbfd630a45e8bd  stsb/dev.jsonl.gz
68491880e35e4ef673609751f32aaec018c04c524a32f143a0d7b301d64b2d13  stsb/test.jsonl.gz
58570093eebda1d6595b0dc575843784cff0243c43dab6af4327282b8a43a3bb  wnli/train.jsonl.gz
951efcf7b6258924c4d562a9e9a801814ba5d0eda24747c88137e35cec9df3a6  wnli/dev.jsonl.gz
""",
        }
    ),
)

_SENTENCE: Fields = {"sentence": str, "label": int}
_PAIR: Fields = {"sentence1": str, "sentence2": str, "label": int}
_FIELDS: dict[str, Fields] = {
    "cola": _SENTENCE,
    "mrpc": _PAIR,
    "rte": {"premise": str, "hypothesis": str, "label": str},
    "sst2": _SENTENCE,
    "stsb": {"sentence1": str, "sentence2": str, "score": (int, float)},
    "wnli": _PAIR,
}


def glue(root: store.Root = None, task: str = "sst2") -> dict[str, list[Row]]:
    """The parts of a task of GLUE by name, rows with the published fields.

    task: "cola", "mrpc", "rte", "sst2", "stsb" or "wnli". Parts: "train", "dev" and "test", as far
    as the task has them with labels; rte has "test_unlabelled" too. Fields: sentence and label
    (cola, sst2); sentence1, sentence2 and label (mrpc, wnli); premise, hypothesis and label, which
    is "entailment" or "not_entailment" (rte); sentence1, sentence2 and score, 0 to 5 (stsb). Labels
    are 0 or 1. Raises DataMissing, and ValueError for another task or a bad line.
    """
    return read_task(store.files("glue", root), task, _FIELDS)
