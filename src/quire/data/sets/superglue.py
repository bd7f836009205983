"""SuperGLUE with few examples: FewGLUE's 32 to train on, the full validation parts."""

from quire.data import store
from quire.data.catalogue import Dataset, versions
from quire.data.lines import Fields, Row, read_task

_FIELDS: dict[str, Fields] = {
    "boolq": {"question": str, "passage": str, "label": bool},
    "cb": {"premise": str, "hypothesis": str, "label": str},
    "copa": {"premise": str, "choice1": str, "choice2": str, "question": str, "label": int},
    "multirc": {"passage": dict},
    "rte": {"premise": str, "hypothesis": str, "label": str},
    "wic": {"word": str, "sentence1": str, "sentence2": str, "label": bool},
    "wsc": {"text": str, "target": dict, "label": bool},
}
_UNLABELLED = ("copa", "wic", "wsc")
DATASET = Dataset(
    summary="seven tasks of SuperGLUE: 32 rows to train on, 32 to choose with, full validation",
    licence="each task's own; BoolQ CC BY-SA 3.0, the others for research",
    home="https://super.gluebenchmark.com/tasks",
    layouts=(
        tuple(
            f"{task}/{part}.jsonl.gz"
            for task in _FIELDS
            for part in ("train32", "dev32", "val", *["unlabelled"] * (task in _UNLABELLED))
        ),
    ),
    by_hand="gzipped JSON lines with SuperGLUE's own fields, train32 and dev32 from FewGLUE_32dev",
    note="Few-shot: the full labelled training parts are not part of it. WSC's "
    "train32 is all true.",
    known=versions(
        {
            "FewGLUE's 32 examples, full validation": """
89339153650ec2fe53edbbe325fbcf9ea9e44b8aeeef900212d4f5349b204a20  boolq/train32.jsonl.gz
f7f8c29c8d4a370159edb65089d10653238a96f0becb4cd2d061979880fbb246  boolq/dev32.jsonl.gz
ddcb75b51268a056b621658401a1d40f05aa12d0901cc85243406360f337bfc1  boolq/val.jsonl.gz
3a396fecc85482ba02ef11c52a95d914366f22cceb2c62823efc47d744430508  cb/train32.jsonl.gz
18360f6e1390e5ff01e001365f9ef706099da802afcc1662bec2ec1170df9d4a  cb/dev32.jsonl.gz
fb5de50957cccf5c9fccda83f4af8d426eb40bfc2d87408356b574358a055ec5  cb/val.jsonl.gz
9e72316ba54b0d97b888fb795e2bc2f2f88c14c081681cc1187048d2962884ce  copa/train32.jsonl.gz
0a3a71e5c3f0fd4e7fad1717c84fd903b337653e6b619112082270c25eb89494  copa/dev32.jsonl.gz
a42d68343a5af38058e0d8324b9adcb3afea724cf8c6978251e41f24fb90a1cf  copa/val.jsonl.gz
a0fe7512315e9f364e03e26df6dff4af24d3b63877cab96805ed7187eb2f203d  copa/unlabelled.jsonl.gz
fb9821f33c718cda2789119ec806df717dfed3105fda4cfbe315e0cb4c153b64  multirc/train32.jsonl.gz
6d88fcebdb8a297d7177097ad4bd8b29ee6e44e5150851a9e4f3fc07627897de  multirc/dev32.jsonl.gz
e7b1b0400aff180758614b8c17aa11fa1d6ac17a3751b170cb06b051a9877769  multirc/val.jsonl.gz
d6de53c4997c63da5e7e85387e0392c010a0483a60167969056025a11d77e323  rte/train32.jsonl.gz
e36cee47ccb939b59835c7cffc1ea8ab6ebeeec143408ae0f95a3cbba2a07f70  rte/dev32.jsonl.gz
037c4fd62548048a6f1277f5610dac2a934c57ff11cb259cef6590d0b826801b  rte/val.jsonl.gz
a54d3dc429d8f9a461aecf497a265b650c8672cd0574fb3b2d289421a3f0721b  wic/train32.jsonl.gz
d32191a4056886f7c2b702e8af161b18ebcfea49fe34074a762cd16093f6c834  wic/dev32.jsonl.gz
fcaf912a47440028242030962580803080dd5c23c67f62a3b43f7a80d1221fe5  wic/val.jsonl.gz
1c07adf2f27c78f5732a5a760e13951e03f935ec07f97277902e44d67a07318d  wic/unlabelled.jsonl.gz
815c28d1d1a1b49707bff995139ac53f20db1e46ac364f752d96169d01b51c1b  wsc/train32.jsonl.gz
9328bc56fdfc33dad7b7fe243d18d91a496f5d989526a46132cd38fdec7ab6c4  wsc/dev32.jsonl.gz
422777e94549682583059023179ccb509554974d98aaa00ce7a1803199d0d62f  wsc/val.jsonl.gz
2a23375ef1e597bb3d223707a5565f2fc16b3202a04699bcf2db8444b788030b  wsc/unlabelled.jsonl.gz
""",
        }
    ),
)


def superglue(root: store.Root = None, task: str = "boolq") -> dict[str, list[Row]]:
    """The parts of a task of SuperGLUE by name, rows with the published fields.

    task: "boolq", "cb", "copa", "multirc", "rte", "wic" or "wsc". Parts: "train32" and "dev32" with
    32 rows each, "val" in full; copa, wic and wsc have "unlabelled" too. Fields: question, passage
    (boolq); premise, hypothesis (cb, rte); premise, choice1, choice2, question (copa); word,
    sentence1, sentence2 and the offsets start1, end1, start2, end2 (wic); text and target, the two
    spans (wsc); each with label. A row of multirc is a passage: {"text", "questions": [{"question",
    "answers": [{"text", "label"}]}]}. Raises DataMissing, and ValueError for another task or a bad
    line.
    """
    return read_task(store.files("superglue", root), task, _FIELDS)
