"""Pairs of words rated by people."""

import os

from quire.data import store
from quire.data.archives import keep_all
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.text import read_text

_SIMILARITY = "https://raw.githubusercontent.com/mfaruqui/eval-word-vectors/94b3dd9fdbac7ed08dbee7179cd5ee464acf0594/data/"
_RATED = {
    "EN-WS-353-ALL.txt": "ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c",
    "EN-WS-353-SIM.txt": "f1da938998863c94e53f72f984a5c6e215f0b46c323aae8f0f4930703a339107",
    "EN-WS-353-REL.txt": "66a7c88100624d0a391605ff61ce84e11d11ee620d51ec0298da49592838f8fa",
    "EN-SIMLEX-999.txt": "405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685",
    "EN-SimVerb-3500.txt": "9d84274e7ad029fd3cf69dd0516e9ade624bbef9bd4e2050f6cc1fa01471e0f5",
}

Pair = tuple[str, str, float]
"""Two words and the similarity that people gave them."""


DATASET = Dataset(
    summary="pairs of words rated by people: WordSim-353, SimLex-999, SimVerb-3500",
    licence="each set's own, for research",
    home="https://github.com/mfaruqui/eval-word-vectors",
    sources=tuple(
        pinned(f"{_SIMILARITY}word-sim/{file}", digest) for file, digest in _RATED.items()
    ),
    layouts=(tuple(_RATED),),
    known=versions(
        {
            "as published": """
ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c  EN-WS-353-ALL.txt
f1da938998863c94e53f72f984a5c6e215f0b46c323aae8f0f4930703a339107  EN-WS-353-SIM.txt
66a7c88100624d0a391605ff61ce84e11d11ee620d51ec0298da49592838f8fa  EN-WS-353-REL.txt
405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685  EN-SIMLEX-999.txt
9d84274e7ad029fd3cf69dd0516e9ade624bbef9bd4e2050f6cc1fa01471e0f5  EN-SimVerb-3500.txt
""",
        }
    ),
)


unpack = keep_all


def word_similarity(root: str | os.PathLike[str] | None = None) -> dict[str, list[Pair]]:
    """Rated pairs by set: WS-353-ALL, WS-353-SIM, WS-353-REL, SIMLEX-999, SimVerb-3500.

    Raises DataMissing, and ValueError for a line that is not two words and a number.
    """
    sets = {}
    for path in store.files("word_similarity", root):
        pairs: list[Pair] = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            try:
                first, second, score = line.split()
                pairs.append((first, second, float(score)))
            except ValueError:
                raise ValueError(
                    f"{path.name}, line {number}: two words and a number expected"
                ) from None
        sets[path.name.removeprefix("EN-").removesuffix(".txt")] = pairs
    return sets
