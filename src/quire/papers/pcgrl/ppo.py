"""PPO of Stable-Baselines3 on many maps, as the paper trains (extra `rl`).

`Learner` goes update by update, and all that changes is in its `state_dict`: so a training that was
cut off goes on to the same numbers. Counterparts of what the paper used (PPO2 of Stable-Baselines
2.9, nothing but its defaults) are in `PPO2`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quire.papers.pcgrl.env import observation_space
from quire.papers.pcgrl.nets import build_net
from quire.papers.pcgrl.world import World

try:
    from gymnasium import spaces
    from stable_baselines3 import PPO
    from stable_baselines3.common.distributions import CategoricalDistribution
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(
        "PCGRL's PPO needs stable-baselines3: pip install 'quire-papers[rl]'"
    ) from error

PPO2: dict[str, Any] = {
    "n_steps": 128, "n_epochs": 4, "learning_rate": 2.5e-4, "gamma": 0.99, "gae_lambda": 0.95,
    "clip_range": 0.2, "clip_range_vf": 0.2, "ent_coef": 0.01, "vf_coef": 0.25,
    "max_grad_norm": 0.5,
}  # fmt: skip
"""PPO2's defaults in the words of Stable-Baselines3. There the value's loss is a mean square, here
PPO2's was half of one, so that its weight of 0.5 is 0.25; PPO2 clipped values as it clipped ratios,
where SB3 does not unless told. Four minibatches an update are a quarter of its steps each."""
MINIBATCHES = 4


class WorldVecEnv(VecEnv):
    """A `World` as Stable-Baselines3 takes it: ended episodes begin anew in the same step.

    An end by the limit of iterations is told as a cut, so that the value beyond it counts.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        whole = not (world.edges.controlled or world.edges.shows_budget)
        space = observation_space(world.shape, whole)
        super().__init__(world.envs, space, spaces.Discrete(world.actions))
        self._actions: NDArray[Any] = np.zeros(world.envs, np.int64)
        self.returns = np.zeros(world.envs)
        self.finished: list[tuple[float, bool]] = []
        """Return and success of the episodes that ended since somebody emptied it."""

    def reset(self) -> NDArray[Any]:
        """New maps, and what is seen of them."""
        self.world.restart(first=True)
        self.returns[:] = 0
        return self.world.observe()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions (N,)."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Carry them out."""
        step = self.world.step(self._actions)
        self.returns += step.rewards
        seen = self.world.observe()
        done = step.terminated | step.truncated
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        ended = np.flatnonzero(done)
        for i in ended:
            infos[i] = {
                "terminal_observation": seen[i].copy(),
                "TimeLimit.truncated": bool(step.truncated[i]),
                "is_success": bool(step.reached[i]),
            }
            self.finished.append((float(self.returns[i]), bool(step.reached[i])))
        if len(ended):
            self.world.restart(ended)
            self.returns[ended] = 0
            seen[ended] = self.world.observe(ended)
        return seen, step.rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the maps' environment, once for each."""
        if attr_name == "render_mode":
            return [None] * self.num_envs
        return [getattr(self.world, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Maps share their attributes, which cannot be set."""
        raise AttributeError(f"maps share their attributes: {attr_name} cannot be set")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """`action_masks`, as MaskablePPO calls it."""
        if method_name != "action_masks":
            raise AttributeError(f"maps have no method {method_name}")
        return list(self.world.action_masks())

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * self.num_envs


class NetPolicy(ActorCriticPolicy):
    """A network that gives logits and values, as Stable-Baselines3 takes it (`net`)."""

    def __init__(self, *spaces_and_schedule: Any, net: nn.Module, **options: Any) -> None:
        self._given = [net]  # in a list: no module may be set before nn.Module's constructor
        super().__init__(*spaces_and_schedule, **options)

    def _build(self, lr_schedule: Any) -> None:
        self.net = self._given[0]
        self.optimizer = self.optimizer_class(
            self.net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )  # type: ignore[call-arg]

    def _look(self, obs: Any) -> tuple[CategoricalDistribution, Tensor]:
        weights = next(self.net.parameters())
        logits, values = self.net(obs.to(weights))
        assert isinstance(self.action_dist, CategoricalDistribution)
        return self.action_dist.proba_distribution(logits), values[:, None]

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (N,), values (N, 1) and the actions' logarithms of probability (N,)."""
        choice, values = self._look(obs)
        actions = choice.get_actions(deterministic=deterministic)
        return actions, values, choice.log_prob(actions)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (N, 1), logarithms of probability (N,) and entropies (N,)."""
        choice, values = self._look(obs)
        return values, choice.log_prob(actions), choice.entropy()

    def get_distribution(self, obs: Any) -> CategoricalDistribution:
        """How actions are chosen."""
        return self._look(obs)[0]

    def predict_values(self, obs: Any) -> Tensor:
        """Values (N, 1)."""
        return self._look(obs)[1]


class Learner:
    """Trains a network on a world by PPO, update by update.

    Args:
        world: The maps; its `envs` are the paper's 50 copies.
        net: Gives logits and values; the paper's network where None.
        device: Where the network is.
        settings: Of Stable-Baselines3's PPO, over those of `PPO2`.

    Example:
        >>> from quire.papers.pcgrl import CropNet, Learner, Narrow, World, find_problem
        >>> world = World(find_problem("sokoban"), Narrow(), envs=4, seed=0)
        >>> net = CropNet(5, 10, actions=6, widths=(4, 4, 4), hidden=8)
        >>> learner = Learner(world, net, n_steps=8)
        >>> sorted(learner.update())
        ['entropy', 'reward', 'success', 'value_loss']
        >>> learner.steps
        32
    """

    def __init__(
        self,
        world: World,
        net: nn.Module | None = None,
        *,
        device: str | torch.device = "cpu",
        **settings: Any,
    ) -> None:
        self.env = WorldVecEnv(world)
        self.net = build_net(world) if net is None else net
        chosen = PPO2 | settings
        chosen.setdefault("batch_size", max(2, chosen["n_steps"] * world.envs // MINIBATCHES))
        self.ppo = PPO(NetPolicy, self.env, policy_kwargs={"net": self.net}, device=device,
                       **chosen)  # fmt: skip
        # Makes what `learn` makes before its first step; the total only scales schedules, and
        # these are constant.
        _, self._callback = self.ppo._setup_learn(total_timesteps=1)

    @property
    def steps(self) -> int:
        """Steps of the environment so far, over all maps."""
        return int(self.ppo.num_timesteps)

    def update(self) -> dict[str, float]:
        """Collect `n_steps` steps in every map and learn from them.

        Gives the mean return and success of the episodes that ended meanwhile (left out where none
        did), the entropy and the value's loss.
        """
        ppo = self.ppo
        self.env.finished.clear()
        assert ppo.env is not None
        ppo.collect_rollouts(ppo.env, self._callback, ppo.rollout_buffer, ppo.n_steps)
        ppo.train()
        told = ppo.logger.name_to_value
        found = {
            "entropy": -float(told["train/entropy_loss"]),
            "value_loss": float(told["train/value_loss"]),
        }
        if self.env.finished:
            rewards, successes = zip(*self.env.finished, strict=True)
            found |= {"reward": float(np.mean(rewards)), "success": float(np.mean(successes))}
        return found

    def state_dict(self) -> dict[str, Any]:
        """All that an update changes but the global random generators: tensors, numbers, text."""
        assert isinstance(self.ppo._last_obs, np.ndarray)
        return {
            "net": self.net.state_dict(),
            "optimizer": self.ppo.policy.optimizer.state_dict(),
            "world": self.env.world.state_dict(),
            "returns": torch.from_numpy(self.env.returns.copy()),
            "starts": torch.from_numpy(np.array(self.ppo._last_episode_starts, bool)),
            "steps": self.ppo.num_timesteps,
            "updates": self.ppo._n_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.net.load_state_dict(state["net"])
        self.ppo.policy.optimizer.load_state_dict(state["optimizer"])
        self.env.world.load_state_dict(state["world"])
        self.env.returns[:] = state["returns"].numpy()
        # What is seen follows from the maps.
        self.ppo._last_obs = self.env.world.observe()
        self.ppo._last_episode_starts = state["starts"].numpy()
        self.ppo.num_timesteps, self.ppo._n_updates = state["steps"], state["updates"]
