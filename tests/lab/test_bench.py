import pytest
import torch

from quire.lab.bench import peak_tensor_mb, race


def test_contestants_take_turns_and_the_clock_is_read_around_each():
    calls, now = [], iter(range(1000))
    timings = race(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=3, warmup=1, clock=lambda: next(now),
    )  # fmt: skip
    assert calls == ["a", "b"] * 4
    assert timings["a"].seconds() == {"median": 1, "q1": 1, "q3": 1}
    assert timings["b"].rate(10) == {"median": 10, "q1": 10, "q3": 10}


def test_quartiles_need_two_repeats():
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        race({"a": list}, repeats=1)


@pytest.mark.filterwarnings("ignore")
def test_peak_memory_of_tensors():
    def call():
        a = torch.ones(250_000)  # 1 MB
        return (a + 1).sum()  # and another

    assert peak_tensor_mb(call) == pytest.approx(2.0, rel=0.05)
