"""Deep Q-learning with experience replay (algorithm 1).

N lanes, B minibatch, A actions.
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quire.papers.dqn.environments import make
from quire.papers.dqn.lanes import Lanes
from quire.papers.dqn.learning import (
    NIPS_2013,
    Bootstrap,
    Setting,
    best_value,
    td_errors,
    td_loss,
    value_gradient,
)
from quire.papers.dqn.networks import choose_network
from quire.papers.dqn.priorities import Proportional
from quire.papers.dqn.replay import Batch, ReplayBuffer
from quire.papers.dqn.rmsprop import RMSProp


class DQN:
    """An agent that learns to act from what it sees, in one environment or N lanes of it.

    With more lanes than one a forward pass serves them all. Where their number divides
    `update_every`, the network does not change between the steps of a turn, so that only which
    episodes the steps come from is another.

    Args:
        env: Lanes, an environment of Gymnasium with discrete actions, or a name for `make`.
        setting: `NIPS_2013`, `NATURE_2015` or your own.
        network: From states to values (B, A); None chooses one that fits the frames.
        optimizer: Of its parameters; None is the setting's RMSProp.
        bootstrap: The value of next states: `best_value` or `double_value`.
        sampling: Prioritised replay; None draws uniformly.
        seed: What exploration and minibatches follow from, and the first weights of a network
            that is chosen here.
        device: Where network and replay are.
        precision: Gives the context of a forward pass, such as autocast.

    Raises ValueError for an environment that `make` refuses.

    Example:
        >>> from dataclasses import replace
        >>> from quire.papers.dqn import DQN, NIPS_2013
        >>> agent = DQN("catch", replace(NIPS_2013, warm_up=40, replay=1000))
        >>> agent.learn(50)
        >>> agent.steps, agent.updates
        (50, 10)
    """

    def __init__(
        self,
        env: Any,
        setting: Setting = NIPS_2013,
        *,
        network: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        bootstrap: Bootstrap = best_value,
        sampling: Proportional | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Callable[[], Any] = contextlib.nullcontext,
    ) -> None:
        self.env = env if isinstance(env, Lanes) else make(env, seed=seed)
        self.setting, self.bootstrap, self.precision = setting, bootstrap, precision
        self.generator = torch.Generator().manual_seed(seed)
        if network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = choose_network(state_shape(self.env), self.env.actions, self.env.high)
        self.network = network.to(device)
        self._weights = list(self.network.parameters())
        # Without a copy the targets come from the weights as they are: 2013.
        self.target = self.network
        if setting.target_every is not None:
            self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = optimizer or RMSProp(
            self._weights, setting.learning_rate, centred=setting.centred
        )
        self.memory = ReplayBuffer(
            setting.replay, self.env.shape, lanes=len(self.env), stack=self.env.stack,
            steps=setting.returns, gamma=setting.gamma, dtype=self.env.dtype, device=device,
            sampling=sampling,
        )  # fmt: skip
        self.steps = 0
        """Steps that were taken, over all lanes."""
        self.updates = 0

    @property
    def frames(self) -> int:
        """Emulator frames that were seen: steps times what an action lasts."""
        return self.steps * self.env.repeat

    # Acting

    @torch.inference_mode()
    def act(
        self, states: Tensor, epsilon: float = 0.0, generator: torch.Generator | None = None
    ) -> NDArray[np.int64]:
        """An action for each state (N, ...), a random one with probability `epsilon`.

        generator: of these draws; None takes the agent's own.
        """
        count, most = len(states), self.env.actions - 1
        drawn = torch.rand(2, count, generator=generator or self.generator, dtype=torch.float64)
        explores, spread = drawn.numpy()
        chosen = np.minimum((spread * (most + 1)).astype(np.int64), most)
        if (explores < epsilon).all():
            return chosen
        with self.precision():
            best = self.network(states.to(self.memory.frames.device)).argmax(-1)
        return np.where(explores < epsilon, chosen, best.cpu().numpy())

    @torch.inference_mode()
    def values(self, states: Tensor) -> Tensor:
        """The largest value of each state, (N, ...) -> (N,)."""
        with self.precision():
            return self.network(states.to(self.memory.frames.device)).amax(-1).float()

    # Learning

    def learn(self, steps: int) -> None:
        """Play until so many steps more were taken, and learn from them."""
        goal = self.steps + steps
        while self.steps < goal:
            self.step()

    def step(self) -> Tensor | None:
        """A step in every lane and the updates that are due; gives the last minibatch's mean loss,
        a scalar, or None without an update."""
        if not self.memory.is_open:
            self._observe()
        actions = self.act(self.memory.newest(), self.setting.epsilon_at(self.steps))
        turn = self.env.step(actions)
        rewards = np.sign(turn.rewards) if self.setting.sign_rewards else turn.rewards
        self.memory.record(actions, rewards, turn.terminal)
        self.steps += int(turn.acted.sum())
        self._observe()
        loss = None
        due = (self.steps - self.setting.warm_up) // self.setting.update_every
        while self.updates < due:
            loss = self.update()
        return loss

    def update(self) -> Tensor:
        """Learn from one minibatch of the replay; gives its mean loss, a scalar."""
        setting = self.setting
        batch = self.memory.sample(setting.batch_size, self.generator)
        # Targets first: a captured graph gives its output anew at the next call of the network.
        targets = self.targets(batch)
        with self.precision():
            values = self.network(batch.states)
        errors = td_errors(values.detach(), batch.actions, targets)
        for weight in self._weights:  # an optimizer's zero_grad costs as much as a small layer
            weight.grad = None
        values.backward(value_gradient(
            values.detach(), batch.actions, errors, clipped=setting.clipped, weights=batch.weights
        ))  # fmt: skip
        self.optimizer.step()
        self.memory.reprioritise(batch.rows, errors)
        self.updates += 1
        if setting.target_every is not None and self.updates % setting.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())
        return td_loss(errors, clipped=setting.clipped).mean()

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Reward plus discounted value of the next state, (B,)."""
        with self.precision():
            following = self.bootstrap(self.network, self.target, batch.next_states)
        return batch.rewards + batch.discounts * following.float()

    def errors(self, batch: Batch) -> Tensor:
        """TD errors (B,), with a gradient through the values but not through the targets."""
        targets = self.targets(batch)
        with self.precision():
            values = self.network(batch.states)
        return td_errors(values, batch.actions, targets)

    def _observe(self) -> None:
        self.memory.observe(self.env.frames, self.env.age, self.env.final)

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """Everything but the replay, which has a state of its own (`memory.state_dict`)."""
        return {
            "network": self.network.state_dict(),
            "target": {} if self.target is self.network else self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "env": self.env.state_dict(),
            "steps": self.steps,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back; the environment plays the episodes that it was in again.

        Raises ValueError where it does not repeat itself.
        """
        self.network.load_state_dict(state["network"])
        if self.target is not self.network:
            self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.env.load_state_dict(state["env"])
        self.steps, self.updates = int(state["steps"]), int(state["updates"])


def state_shape(env: Lanes) -> tuple[int, ...]:
    """Of a state: a stack's channels after one another, (S * C, H, W), or (S * D,)."""
    return (env.stack * env.shape[0], *env.shape[1:])
