import pytest

from quire.lab.testing import run_in
from quire.lab.training import save_weights
from quire.papers.t5.experiments import leakage as asking
from quire.papers.t5.experiments.leakage import Leakage, choices, leakage
from quire.papers.t5.experiments.learner import Net, Tuning, make_model
from quire.papers.t5.experiments.sources import Labelled
from quire.papers.t5.procedural import Language

TINY = Net(dim=16, hidden=32, heads=2, layers=1, head_dim=8, dropout=0.0)
CONFIG = Leakage(
    net=TINY, labelled=Labelled(tasks=("nli", "paraphrase"), test=6),
    tuning=Tuning(inputs=32, targets=4),
)  # fmt: skip
WORDS = {"nli": "entailment", "paraphrase": "equivalent"}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run the experiment with a model that writes what `answer(inputs)` gives for each text."""
    save_weights(tmp_path / "base", "model",
                 make_model(TINY, Language().words, run_in(tmp_path / "first")))  # fmt: skip

    def go(answer):
        def write(model, rows, coder, run):
            return [answer(text) for text in coder.decode(rows.inputs.tolist())]

        monkeypatch.setattr(asking, "write", write)
        run = run_in(tmp_path / "run", before={"base": tmp_path / "base"})
        return leakage(CONFIG, run)

    return go


def test_a_model_that_goes_by_the_prefix(ask):
    found = ask(lambda text: WORDS.get(text.split()[0], "the"))
    assert found == {"own": 50, "foreign": 0, "nonsense": 0, "bare": 0, "field_words": 0,
                     "prefix_words": 100}  # fmt: skip


def test_a_model_that_goes_by_the_fields(ask):
    found = ask(lambda text: WORDS["nli" if "premise" in text else "paraphrase"])
    assert found == {"own": 50, "foreign": 50, "nonsense": 50, "bare": 50, "field_words": 100,
                     "prefix_words": 0}  # fmt: skip


def test_only_choices_are_asked():
    language = Language()
    assert set(choices(("nli", "acceptability"), language)) == {"nli", "acceptability"}
    with pytest.raises(
        ValueError, match="must be some of acceptability, paraphrase, nli, got 'qa'"
    ):
        choices(("nli", "qa"), language)
    with pytest.raises(ValueError, match="at least two, got 1"):
        choices(("nli",), language)
    answers = [
        set(task.labels)
        for task in choices(("nli", "paraphrase", "acceptability"), language).values()
    ]
    assert not set.intersection(*answers)
