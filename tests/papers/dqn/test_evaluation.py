"""Scores, floors, what values say, and the line that a score is printed with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quire.papers.dqn import (
    DQN,
    NATURE_2015,
    NIPS_2013,
    Evaluation,
    Lanes,
    best_constant,
    constant_policy,
    describe_score,
    differences,
    evaluate,
    held_out_states,
    interquartile_mean,
    make,
    playing,
    random_policy,
    record,
    roughness,
    value_ratio,
    values_around,
)
from quire.papers.dqn.evaluation import returns_to_go
from quire.papers.dqn.experiments.chain import Chain
from quire.papers.dqn.experiments.policies import follow_ball


def test_scores_are_those_of_whole_episodes():
    lanes = make("catch", 2, seed=1)
    said = evaluate(constant_policy(0), lanes, steps=50)
    assert said.rewards.shape == said.ends.shape == (25, 2)
    assert len(said.scores) == said.ends.sum() == 10
    assert said.rewards.sum() == said.scores.sum()
    assert said.mean == said.scores.mean()
    assert said.best == said.scores.max()
    assert np.isnan(said.values).all()
    assert lanes.ended == []


def test_rewards_are_not_clipped_and_cut_episodes_count():
    class Rich(Chain):
        def receive(self):
            return super().receive()._replace(reward=7.0)

    said = evaluate(constant_policy(0), Lanes([Rich(3, longest=4)]), steps=40)
    # After a cut a step begins anew: it brings nothing and is no part of an episode.
    assert set(said.scores) == {28.0}
    assert len(said.scores) == 8
    short = evaluate(constant_policy(0), Lanes([Rich(3, longest=100)]), steps=10)
    assert (len(short.scores), short.mean, short.best) == (0, 70.0, 70.0)


def test_the_agent_s_own_draws_are_left_alone():
    agent = DQN("catch")
    before = agent.generator.get_state()
    evaluate(playing(agent), make("catch", 4), steps=40, values=agent.values)
    assert torch.equal(before, agent.generator.get_state())
    assert agent.network.training


def test_floors():
    lanes = make("catch", 8, seed=2)
    assert evaluate(random_policy(lanes), lanes, steps=4000).mean == pytest.approx(-0.65, abs=0.12)
    assert best_constant(lanes, steps=2000) == pytest.approx(-0.67, abs=0.12)
    with pytest.raises(ValueError, match="8 lanes need at least as many steps, got 7"):
        evaluate(random_policy(lanes), lanes, steps=7)


def test_held_out_states_follow_from_the_seed():
    states = [held_out_states(make("catch", 4, seed=1), 10, seed=s) for s in (0, 0, 1)]
    assert states[0].shape == (10, 1, 6, 6)
    assert states[0].dtype == torch.uint8
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def told(rewards, ends, values):
    columns = [np.array(x, float)[:, None] for x in (rewards, values)]
    return Evaluation(np.array([]), columns[0], np.array(ends, bool)[:, None], columns[1])


def test_returns_and_the_values_ratio_by_hand():
    rewards = np.array([[0.0], [1.0], [0.0], [4.0], [1.0]])
    ends = np.array([[0], [1], [0], [1], [0]], bool)
    assert returns_to_go(rewards, ends, 0.5)[:, 0].tolist() == [0.5, 1, 2, 4, 1]
    said = told(rewards[:, 0], ends[:, 0], [1, 2, 1, 2, 99])
    # Signs count, and the last step's episode does not end.
    assert value_ratio(said, 0.5) == pytest.approx((6 / 4) / ((0.5 + 1 + 0.5 + 1) / 4))
    assert np.isnan(value_ratio(told([1], [0], [1]), 0.5))


def test_values_around_a_reward_by_hand():
    rewards, ends, values = np.zeros(30), np.zeros(30), np.arange(30.0)
    rewards[[3, 12, 25]] = 1  # the first has too few steps before it
    ends[27] = 1  # the last one's episode ends too early
    values[13:] = 0
    assert values_around(told(rewards, ends, values)) == (5.0, 12.0)
    assert np.isnan(values_around(told([0], [0], [0]))).all()


def test_roughness():
    assert roughness(np.arange(10.0)) == 0
    assert roughness(np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(np.sqrt(0.125))
    assert roughness(np.ones(4)) == 1


def test_interquartile_mean():
    scores = np.arange(8.0).reshape(4, 2)
    mean, low, high = interquartile_mean(scores)
    assert mean == 3.5
    assert low < mean < high
    assert interquartile_mean(np.full((3, 2), 2.0)) == (2, 2, 2)
    with pytest.raises(ValueError, match=r"\(seeds, games\)"):
        interquartile_mean(np.ones(3))


def test_the_line_of_a_score_says_all_that_differs_from_2015():
    agent = DQN("catch", replace(NIPS_2013, replay=1000, warm_up=100, returns=3))
    agent.steps = 12
    line = describe_score(agent, evaluate(playing(agent), make("catch", 2), steps=40))
    for words in (
        "catch: mean", "optimiser RMSProp, rate 0.00025", "(2015: centred RMSProp", "not clipped",
        "buffer 1,000 rows (2015: 1,000,000 rows)", "target network none (2015: copied every",
        "epsilon 1 to 0.1 over 1,000,000 steps from step 0 on", "every 1 steps", "returns 3 steps",
        "frames 12 (12 steps of 1) (2015: 200,000,000 (50,000,000 steps of 4))",
    ):  # fmt: skip
        assert words in line
    nature = DQN("catch", replace(NATURE_2015, replay=1_000_000))
    assert [row.split()[0] for row in differences(nature)] == ["frames"]
    other = torch.optim.Adam(nature.network.parameters(), 1e-4)
    agent = DQN("catch", NATURE_2015, network=nature.network, optimizer=other)
    assert differences(agent)[0].startswith("optimiser Adam, rate 0.0001 (2015")


def test_a_recording_is_drawn_and_written(tmp_path):
    agent = DQN("catch")
    kept = record(agent, make("catch"), steps=12)
    assert len(kept.frames) == len(kept.actions) == 12
    assert kept.frames[0].shape == (6, 6, 3)
    assert kept.said.values.shape == (12, 1)
    kept.save_gif(tmp_path / "play.gif", scale=2)
    assert (tmp_path / "play.gif").read_bytes()[:3] == b"GIF"
    figure = kept.draw(pictures=10)
    assert sum(bool(axis.images) for axis in figure.axes) == 10
    with pytest.raises(ValueError, match="no images"):
        record(agent, Lanes([Chain(3, longest=4)]))


def test_the_rule_follows_the_ball():
    states = torch.zeros(3, 4, 10, 10, dtype=torch.uint8)
    states[:, 0, 9, 4] = 1
    for row, column in enumerate((2, 4, 7)):
        states[row, 1, 5, column] = 1
    assert follow_ball(states).tolist() == [1, 0, 2]
