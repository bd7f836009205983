"""Lives in the two environments of our own: forces, hidden maps, blows, and nothing left behind."""

import math

import numpy as np
import pytest
import torch

from contract.operators import Operators
from quire.papers.hebbian import (
    FROZEN,
    INTACT,
    LEGS,
    Body,
    HebbianPolicy,
    Reach,
    StaticPolicy,
    Turn,
    Walker,
    damaged,
    draw_lives,
    name_lives,
    roll_out,
)
from quire.papers.hebbian import walker as physics

BODIES = [INTACT, damaged("front right"), damaged("rear left", length=1.0, strength=0.3)]


def lives(policy, env, count, each=1, seed=0, generation=0):
    rows = name_lives(torch.arange(count), each)
    return draw_lives(policy, env, rows, seed=seed, generation=generation)


# The walker


def test_no_force_is_left_over():
    """Against the seven equations written out: three of the body, four of the hips."""
    env = Walker(BODIES)
    env.reset(torch.rand(4, 3, 5).double())
    for step in range(8):
        hips, action = env.hips.clone(), 2 * torch.rand(4, 3, 4).double() - 1
        env.step(action)
        for life in range(4):
            for k, body in enumerate(BODIES):
                wanted = solve(body, hips[life, k].tolist(), action[life, k].tolist())
                found = env.motion[life, k].tolist()
                assert found == pytest.approx(wanted[:3], abs=1e-9), step


def solve(body, hips, action):
    """Velocities of body and hips from forces and torques, as one linear system."""
    matrix, right = np.zeros((7, 7)), np.zeros(7)
    tx, ty = physics.TRUNK_AT
    trunk = np.array([[1, 0, -ty], [0, 1, tx]])
    matrix[:3, :3] = physics.TRUNK * trunk.T @ trunk
    matrix[2, 2] += physics.TURNING
    for k, (x, y) in enumerate(((0.5, 0.25), (0.5, -0.25), (-0.5, 0.25), (-0.5, -0.25))):
        length, side = physics.LENGTH * body.lengths[k], 1 if y > 0 else -1
        foot = x + length * math.sin(hips[k]), y + side * length * math.cos(hips[k])
        along = np.array([length * math.cos(hips[k]), -side * length * math.sin(hips[k])])
        span = physics.GRIP - physics.SLIP
        friction = physics.SLIP + span / (1 + math.exp(physics.SHARPNESS * action[k]))
        place = np.array([[1, 0, -foot[1]], [0, 1, foot[0]]])
        whole = np.column_stack([place, np.zeros((2, 4))])
        if not (abs(hips[k]) >= physics.REACH and hips[k] * action[k] > 0):
            whole[:, 3 + k] = along
            # The hip: torque less its own friction is what the ground takes.
            matrix[3 + k] += friction * along @ whole
            matrix[3 + k, 3 + k] += physics.STIFF
            right[3 + k] = body.strengths[k] * action[k]
        else:
            matrix[3 + k, 3 + k] = 1
        matrix[:3] += friction * place.T @ whole
    return np.linalg.solve(matrix, right)


def test_nothing_driven_nothing_moves_and_a_constant_drive_is_one_stroke():
    env = Walker([INTACT])
    for drive, most in ((0.0, 0.0), (-1.0, 1.0), (1.0, 1.0)):
        env.reset(torch.full((1, 1, 5), 0.5))
        way = sum(env.step(torch.full((1, 1, 4), drive)).reward for _ in range(200))
        assert abs(float(way)) <= most
    assert env.hips.abs().max() <= physics.REACH


def test_left_and_right_are_not_alike():
    """The same gait, mirrored, with the mirrored damage: another way."""
    ways = []
    mirrored = {"front left": [0, 1, 2, 3], "front right": [1, 0, 3, 2]}
    for leg, order in mirrored.items():
        env = Walker([damaged(leg)])
        env.reset(torch.full((1, 1, 5), 0.5))
        way = 0
        for step in range(150):
            phase = torch.tensor([0.0, 3.1, 3.1, 0.0])[order]
            way = way + env.step(2 * torch.sin(0.4 * step + phase).expand(1, 1, 4)).reward
        ways.append(float(way))
    assert abs(ways[0] - ways[1]) > 2


def test_damage_lasts_until_the_next_birth():
    env, hurt = Walker([INTACT]), Walker([damaged("front left")])
    drive = torch.full((1, 1, 4), -0.5)
    start = torch.full((1, 1, 5), 0.5)
    env.reset(start), hurt.reset(start)
    env.change([damaged("front left")])
    assert torch.equal(env.step(drive).observation, hurt.step(drive).observation)
    env.reset(start), hurt.reset(start)
    assert not torch.equal(env.step(drive).observation, hurt.step(drive).observation)


def test_no_body_is_told():
    """All bodies begin alike, and what is seen has no more than hips, heading and motion."""
    env = Walker([INTACT, *(damaged(leg) for leg in LEGS)])
    seen = env.reset(torch.full((1, 5, 5), 0.3))
    assert seen.shape == (1, 5, 13)
    assert (seen == seen[:, :1]).all()


# Reaching


def test_what_is_hidden_turns_the_push():
    for angle in (0, 90, 180):
        env = Reach((angle,))
        seen = env.reset(torch.tensor([[0.0, 0.5]]))
        assert seen[0].tolist() == pytest.approx([1, 0, 0, 0, 0, 0])
        turn = env.step(torch.tensor([[1.0, 0.0]]))
        pushed = 0.3 * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        assert turn.observation[0, 2:4].tolist() == pytest.approx(pushed, abs=1e-6)
        assert turn.observation[0, 4:].tolist() == pytest.approx(pushed, abs=1e-6)
        assert turn.observation[0, :2].tolist() == pytest.approx([1, 0] - 0.1 * pushed, abs=1e-6)
        assert float(turn.reward) == pytest.approx(-np.hypot(*([1, 0] - 0.1 * pushed)), abs=1e-6)


def test_each_angle_is_as_likely_and_none_is_told():
    env = Reach((0, 180))
    uniform = torch.rand(4000, 2)
    seen = env.reset(uniform)
    turned = env.map[:, 0, 0] < 0
    assert turned.float().mean() == pytest.approx(0.5, abs=0.03)
    same = torch.stack([uniform[:, 0], torch.rand(4000)], -1)
    assert torch.equal(Reach((0, 180)).reset(same), seen)
    circle = Reach(None)
    circle.reset(uniform)
    torch.testing.assert_close(circle.map @ circle.map.mT, torch.eye(2).expand(4000, 2, 2))


# Lives


def test_the_same_name_has_the_same_life_and_each_has_its_own():
    policy, env = HebbianPolicy((13, 6, 4)), Walker(BODIES[:2])
    draws = lives(policy, env, 6, each=2)
    some = draw_lives(policy, env, name_lives(torch.tensor([4, 1]), 2), seed=0)
    assert torch.equal(some.starts, draws.starts[[4, 1]])
    assert torch.equal(some.scenes, draws.scenes[[4, 1]])
    assert len(torch.unique(draws.starts.flatten(0, 1), dim=0)) == 12
    common = name_lives(torch.arange(6), 2, common=True)
    assert common[0].tolist() == common[1].tolist() != common[2].tolist()


def test_a_life_is_the_same_after_others_whatever_became_of_the_weights():
    policy, env = HebbianPolicy((13, 6, 4)), Walker([INTACT])
    first = roll_out(policy, env, lives(policy, env, 3), steps=30)
    roll_out(policy, env, lives(policy, env, 3, seed=9), steps=30)
    again = roll_out(policy, env, lives(policy, env, 3), steps=30)
    assert torch.equal(first.rewards, again.rewards)
    assert all(torch.equal(a, b) for a, b in zip(first.state, again.state, strict=True))


def test_weights_are_kept_step_by_step():
    policy, env = HebbianPolicy((13, 6, 4)), Walker([INTACT])
    draws = lives(policy, env, 3)
    whole = roll_out(policy, env, draws, steps=12, keep=True)
    assert whole.weights.shape == (13, 3, 1, policy.draws)
    born = torch.cat([w.flatten(-2) for w in policy.begin(draws.starts)], -1)
    assert torch.equal(whole.weights[0], born)
    half = roll_out(policy, env, draws, steps=7)
    assert torch.equal(whole.weights[7], torch.cat([w.flatten(-2) for w in half.state], -1))
    assert torch.equal(whole.returns, whole.rewards.sum(0))


def test_a_blow_comes_before_its_step_and_kept_weights_stay():
    policy, env = HebbianPolicy((13, 6, 4)), Walker([INTACT])
    draws, seen = lives(policy, env, 2), []

    def erase(state):
        seen.append(state)
        return tuple(torch.zeros_like(w) for w in state)

    rollout = roll_out(policy, env, draws, steps=6, changes={5: erase}, learn=False)
    assert len(seen) == 1
    assert torch.equal(seen[0][0], policy.begin(draws.starts)[0])
    assert not rollout.state[0].any()
    assert rollout.rewards[5].abs().max() < rollout.rewards[4].abs().max()
    other = roll_out(policy, env, draws, steps=2, state=rollout.state, learn=False)
    assert other.returns.abs().max() == 0


class Ending:
    """Life k ends after step k + 1; each step brings 1."""

    inputs, actions, draws = 2, 1, 0

    def reset(self, uniform):
        self.age, self.shape = 0, uniform.shape[:-1]
        return torch.zeros(*self.shape, 2)

    def step(self, action):
        self.age += 1
        over = torch.arange(self.shape.numel()).reshape(self.shape) < self.age
        return Turn(torch.zeros(*self.shape, 2), torch.ones(self.shape), over)


def test_who_has_ended_gets_nothing_more():
    policy, env = StaticPolicy((2, 1)), Ending()
    rollout = roll_out(policy, env, lives(policy, env, 4), steps=10)
    assert rollout.returns[:, 0].tolist() == [1, 2, 3, 4]
    assert len(rollout.rewards) == 4


@pytest.mark.parametrize("make", [lambda: Walker(BODIES[:2]), lambda: Reach((0, 180))])
def test_lives_neither_wait_for_a_device_nor_cost_it_more_calls(make):
    numbers = []
    for count in (4, 400):
        env = make()
        policy = HebbianPolicy((env.inputs, 8, env.actions)).to("meta")
        rows = name_lives(torch.arange(count, device="meta"), 2)
        draws = draw_lives(policy, env, rows, seed=0)
        with Operators() as watched:
            brain = policy.express(torch.zeros(count, 1, policy.size, device="meta"))
            roll_out(policy, env, draws, steps=5, brain=brain)
        assert watched.waits == 0
        numbers.append(watched.number)
    assert numbers[0] == numbers[1]


def test_weights_that_overflow_are_seen():
    policy = HebbianPolicy((13, 4), form=FROZEN)
    env = Walker([INTACT])
    draws = lives(policy, env, 1)
    state = (torch.full((1, 1, 4, 13), torch.nan),)
    assert roll_out(policy, env, draws, steps=2, state=state).returns.isnan().all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Walker([]), "a walker has a body"),
        (lambda: Walker([Body((1.0, 1.0, 1.0, 0.0))]), "above 0"),
        (lambda: Walker([Body((1.0,))]), "four lengths and strengths"),
        (lambda: Walker([INTACT]).change([INTACT, INTACT]), "1 bodies change to as many, got 2"),
        (lambda: Walker([INTACT]).reset(torch.rand(3, 2, 5)), "1 bodies need as many lives, got 2"),
        (lambda: damaged("left"), "unknown leg 'left'. Known: front left"),
        (lambda: damaged("front left", length=0), "shares are above 0"),
        (lambda: Reach(()), "a map has an angle"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
