"""Race of word2vec's training against gensim's compiled path, on the same file.

`quire bench word2vec`, or alone: `python benchmarks/word2vec.py`. The corpus is `wiki_en` as runs
of lower-case letters, digits and apostrophes; QUIRE_RACE_WORDS, a number, takes less of it for a
quick look. In the race of training both sides have the corpus in memory, ours as rows, gensim's as
lists of words (its quicker form here); end to end both begin with the file. QUIRE_RACE_LETTERS
takes so many letters of it.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from quire import data
from quire.lab.bench import Timing, race
from quire.papers.word2vec import Vocabulary, Word2Vec, analogies, similarity

WORDS = int(float(os.environ.get("QUIRE_RACE_WORDS", "2e7")))
LETTERS = float(os.environ.get("QUIRE_RACE_LETTERS", "inf"))
QUALITY_SEEDS = (10, 11, 12)
SETTINGS: dict[str, Any] = {"window": 5, "negative": 5, "sample": 1e-3, "min_count": 5, "epochs": 1}
DIM, REPEATS = 100, 3


def main() -> dict[str, Any]:
    """Training and end to end, at one and two threads; quality of three seeds beside them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        words = write_corpus(path)
        quality = measure_quality(path)
        memory = {side: peak_memory(side, path) for side in ("ours", "peer")}
        parity = holds(quality)
        beside = {
            "parity": parity,
            "parity_test": "means of three seeds of analogies, WordSim-353, SimLex-999, SimVerb: "
            "ours not below gensim's by more than the two spreads (standard deviations) together",
            "words": words,
            "quality": quality,
            "memory_mb": memory,
        }
        races = []
        for threads, goal in ((1, 1.2), (2, 1.5)):
            for name in ("training", "end to end"):
                entry = {"name": f"{name}, {threads} threads", "unit": "words/s", "goal": goal}
                if parity:
                    entry |= timed(path, words, threads, whole=name == "end to end")
                races.append(entry | beside)
        return {"races": races}


def write_corpus(path: Path) -> int:
    """The corpus, sentences of at most 1,000 words a line; gives the number of words."""
    word, total = re.compile(r"[a-z0-9']+"), 0
    with path.open("w") as file:
        for article in data.wiki_en():
            for line in article.split("\n"):
                found = word.findall(line.lower())
                total += len(found)
                for begin in range(0, len(found), 1000):
                    file.write(" ".join(found[begin : begin + 1000]) + "\n")
            if total >= WORDS or file.tell() >= LETTERS:
                break
    return total


def timed(path: Path, words: int, threads: int, *, whole: bool) -> dict[str, Any]:
    """Interleaved medians. Training: the vocabulary is built before the clock starts."""
    from gensim.models import Word2Vec as Peer

    peer_settings = SETTINGS | {"vector_size": DIM, "sg": 1, "workers": threads}
    if whole:
        contestants = {
            "ours": lambda: Word2Vec(DIM, threads=threads, **SETTINGS).fit(path),
            "peer": lambda: Peer(corpus_file=str(path), **peer_settings),
        }
        return report(race(contestants, repeats=REPEATS, warmup=1), words)
    ours = Word2Vec(DIM, threads=threads, **SETTINGS)
    sentences = [line.split() for line in path.read_text().splitlines()]
    peer = Peer(**peer_settings)
    peer.build_vocab(sentences)
    with tempfile.TemporaryDirectory() as folder:
        session = ours.begin(path, Path(folder))
        contestants = {
            "ours": lambda: session.run(threads),
            "peer": lambda: peer.train(sentences, total_examples=len(sentences), epochs=1),
        }
        return report(race(contestants, repeats=REPEATS, warmup=1), words)


def report(timings: dict[str, Timing], words: int) -> dict[str, Any]:
    """Raw words of the corpus a second, and their ratio."""
    rates: dict[str, Any] = {name: timing.rate(words) for name, timing in timings.items()}
    return rates | {"ratio": rates["ours"]["median"] / rates["peer"]["median"]}


def measure_quality(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By measure and side: mean and standard deviation over seeds."""
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for seed in QUALITY_SEEDS:
        rows["ours"].append(measures(fit("ours", path, seed)))
        rows["peer"].append(measures(fit("peer", path, seed)))
    return {
        name: {
            side: {
                "mean": statistics.mean(row[name] for row in rows[side]),
                "spread": statistics.stdev(row[name] for row in rows[side]),
            }
            for side in rows
        }
        for name in rows["ours"][0]
    }


def holds(quality: dict[str, dict[str, dict[str, float]]]) -> bool:
    """Whether ours is below in nothing by more than the two spreads together."""
    return all(
        sides["ours"]["mean"]
        >= sides["peer"]["mean"] - sides["ours"]["spread"] - sides["peer"]["spread"]
        for sides in quality.values()
    )


def fit(side: str, path: Path, seed: int) -> Word2Vec:
    """A model of one side, one thread."""
    if side == "ours":
        return Word2Vec(DIM, seed=seed, **SETTINGS).fit(path)
    from gensim.models import Word2Vec as Peer

    peer = Peer(
        corpus_file=str(path), vector_size=DIM, sg=1, workers=1, seed=seed, **SETTINGS
    ).wv  # fmt: skip
    model = Word2Vec(DIM)
    counts = np.array([peer.get_vecattr(word, "count") for word in peer.index_to_key])
    model.vocabulary, model.vectors = Vocabulary(peer.index_to_key, counts), peer.vectors
    return model


def measures(model: Word2Vec) -> dict[str, float]:
    """What the race holds equal."""
    rated = data.word_similarity()
    return {
        "analogies": analogies(model, data.word_analogy()).accuracy["total"],
        "wordsim": similarity(model, rated["WS-353-ALL"]).correlation,
        "simlex": similarity(model, rated["SIMLEX-999"]).correlation,
        "simverb": similarity(model, rated["SimVerb-3500"]).correlation,
    }


def peak_memory(side: str, path: Path) -> dict[str, float]:
    """Largest resident memory of a process that fits once, and what of it the imports take, MB."""
    imports, fit_once = {
        "ours": (
            "from quire.papers.word2vec import Word2Vec",
            f"Word2Vec({DIM}, seed=10, **{SETTINGS!r}).fit({str(path)!r})",
        ),
        "peer": (
            "from gensim.models import Word2Vec",
            f"Word2Vec(corpus_file={str(path)!r}, vector_size={DIM}, sg=1, workers=1, seed=10, "
            f"**{SETTINGS!r})",
        ),
    }[side]
    script = (
        "from pathlib import Path\n"
        "status = lambda: Path('/proc/self/status').read_text().split('VmHWM:')[1]\n"
        "peak = lambda: int(status().split()[0]) * 1024 / 1e6\n"
        f"{imports}\n"
        "before = peak()\n"
        f"{fit_once}\n"
        "print(before, peak())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    before, peak = map(float, done.stdout.split())
    return {"peak": peak, "before": before}


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
