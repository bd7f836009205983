"""What the watch says, when, and that it says it once."""

import pytest
import torch

from quire.papers.gan import Watch

DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
EVEN, WON = torch.zeros(64), torch.full((64,), 8.0)


def test_a_fair_game_is_silent():
    watch = Watch(patience=1)
    assert watch.look(1, EVEN, EVEN, DATA, DATA) is None
    # A blind discriminator is at 1/2 too, and is not called saturated.
    assert watch.look(2, WON, WON, DATA, DATA) is None
    assert watch.since == {}


def test_saturation_is_said_once_with_its_step():
    watch = Watch(patience=2)
    assert watch.look(10, WON, -WON, DATA, DATA) is None
    said = watch.look(20, WON, -WON, DATA, DATA)
    assert said == "D is saturated at step 20: it gives data 1.000 and samples 0.000"
    assert watch.look(30, WON, -WON, DATA, DATA) is None
    assert watch.since == {"saturated": 20}


def test_collapse_is_said_and_a_good_look_starts_the_count_again():
    watch = Watch(patience=2)
    assert watch.look(1, EVEN, EVEN, DATA, 0.01 * DATA) is None
    assert watch.look(2, EVEN, EVEN, DATA, DATA) is None
    assert watch.look(3, EVEN, EVEN, DATA, 0.01 * DATA) is None
    said = watch.look(4, EVEN, EVEN, DATA, 0.01 * DATA)
    assert said == "samples have collapsed at step 4: their spread is 0.010 of the data's"


def test_a_new_generator_may_be_all_alike_until_it_begins():
    watch = Watch(patience=1, begin=10)
    assert watch.look(9, EVEN, EVEN, DATA, 0 * DATA) is None
    assert "collapsed at step 10" in watch.look(10, EVEN, EVEN, DATA, 0 * DATA)
    assert "saturated at step 1" in Watch(patience=1, begin=10).look(1, WON, -WON, DATA, DATA)


def test_both_are_one_line_and_the_state_resumes():
    watch = Watch(patience=2)
    watch.look(1, WON, -WON, DATA, 0 * DATA)
    again = Watch(patience=2)
    again.load_state_dict(watch.state_dict())
    said = again.look(2, WON, -WON, DATA, 0 * DATA)
    assert said.count("step 2") == 2
    assert "\n" not in said


@pytest.mark.parametrize(
    "options", [{"saturation": 0.0}, {"collapse": 1.0}, {"patience": 0}, {"begin": -1}], ids=str
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="between 0 and 1, patience"):
        Watch(**options)
