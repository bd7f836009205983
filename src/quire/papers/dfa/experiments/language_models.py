"""Causal Transformers with macro and micro placements, on characters or on pieces of words."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, inverse_square_root, set_rate, update, warm_up
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback
from quire.papers.dfa.experiments.texts import Corpus, TextName, bigram_perplexity, load_corpus
from quire.papers.dfa.language import LanguageModel
from quire.papers.dfa.placements import macro, micro

CLIP = 0.5
"""Largest norm of all gradients together, for every rule alike."""
PATIENCE, FACTOR = 1, 0.2
"""Looks without a better loss before the rate falls, and to which part of it."""
LOOKS = 10
"""Times in a run that the validation loss is measured."""


class LanguageModels(Config):
    """Next-token prediction with a Transformer; Table 5. Defaults are the paper's net."""

    text: TextName = "characters"
    """Characters of Wikipedia, or WikiText-103 in pieces of words."""
    rule: Literal["macro", "micro", "backward", "shallow"] = "macro"
    """Feedback to each block, to three places in each, back-propagation, or frozen blocks."""
    at_logits: bool = False
    """Whether the error is taken at the logits, and not in front of the vocabulary."""
    cut_embedding: bool = False
    """Whether the embeddings get feedback of their own, and not block 1's gradient."""
    dim: PositiveInt = 512
    """Width D; the hidden layers are four times as wide."""
    layers: PositiveInt = 6
    """Blocks."""
    heads: PositiveInt = 8
    """Heads of attention."""
    dropout: NonNegativeFloat = 0.1
    """Of each part's output."""
    length: PositiveInt = 128
    """Tokens of a text."""
    batch_size: PositiveInt = 64
    """Texts a step."""
    schedule: Literal["constant", "noam", "plateau"] = "constant"
    """How the rate goes: as it is, the Transformer's own, or falling where nothing gets better."""
    learning_rate: PositiveFloat = 5e-5
    """Adam's; Noam's is a factor of its own."""
    warm_up: PositiveInt = 4000
    """Steps in which Noam's rate rises."""
    beta2: PositiveFloat = 0.999
    """Adam's second."""
    steps: PositiveInt = 10_000
    """Minibatches."""
    train_tokens: PositiveInt = 1_000_000
    """At most so many to train on."""
    test_tokens: PositiveInt = 50_000
    """At most so many to validate and to test on."""


class Plateau:
    """What the rate is multiplied with: a fifth after two looks without a better loss."""

    def __init__(self) -> None:
        self.best, self.bad, self.share = torch.inf, 0, 1.0

    def see(self, loss: float) -> None:
        """Take a validation loss into account."""
        self.bad = 0 if loss < self.best else self.bad + 1
        self.best = min(self.best, loss)
        if self.bad > PATIENCE:
            self.share, self.bad = self.share * FACTOR, 0

    def state_dict(self) -> dict[str, float]:
        """Its numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Put them back."""
        vars(self).update(state)


def language_models(config: LanguageModels, run: Run) -> Metrics:
    """Perplexity of held-out text where the validation loss was best, and alignment."""
    corpus = load_corpus(run, config.text, train=config.train_tokens, test=config.test_tokens)
    model = make_model(config, corpus.vocabulary, run.seed).to(run.device)
    model.prepare(corpus.train[: config.length][None])
    model = run.place(model)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, betas=(0.9, config.beta2), eps=1e-9
    )
    plateau, kept = Plateau(), Kept(best=float("inf"), test=float("inf"))
    every = max(1, config.steps // LOOKS)
    for step in run.steps(config.steps, state=(model, optimizer, plateau, kept)):
        set_rate(optimizer, rate_at(config, step) * plateau.share)
        x, y = take_batch(corpus.train, config, run)
        model.train()
        with run.precision():
            loss = measure_loss(model, x, y)
        update(loss, model, optimizer, clip=CLIP)
        run.log(loss=loss)
        if (step + 1) % every == 0:
            look = evaluate(model, corpus.val, config)
            kept.add("step", step + 1)
            kept.add("validation", look)
            if config.schedule == "plateau":
                plateau.see(look)
            if look < kept.numbers["best"]:
                kept.numbers["best"] = look
                kept.numbers["test"] = evaluate(model, corpus.test, config)
    return report(model, corpus, config, run, kept)


def make_model(config: LanguageModels, vocabulary: int, seed: int) -> DirectFeedback:
    """The marked Transformer; where the rule is back-propagation the marks do nothing."""
    net = LanguageModel(
        vocabulary, dim=config.dim, layers=config.layers, heads=config.heads,
        dropout=config.dropout,
    )  # fmt: skip
    marks = micro(net) if config.rule == "micro" else macro(net)
    return DirectFeedback(
        net,
        (["entry"] if config.cut_embedding else []) + marks,
        seed=seed,
        source=None if config.at_logits else "encoder",
        rule=config.rule if config.rule in ("backward", "shallow") else "direct",
    )


def rate_at(config: LanguageModels, step: int) -> float:
    """The rate of a step before what a plateau makes of it."""
    if config.schedule != "noam":
        return config.learning_rate
    rise = warm_up(step, config.warm_up) * inverse_square_root(step, config.warm_up)
    return config.learning_rate * rise * (config.dim * config.warm_up) ** -0.5


def take_batch(tokens: Tensor, config: LanguageModels, run: Run) -> tuple[Tensor, Tensor]:
    """Random texts of the training part and the tokens that follow, both (B, T)."""
    begin = torch.randint(
        len(tokens) - config.length, (config.batch_size, 1), generator=run.rng("batch", run.step)
    )
    places = (begin + torch.arange(config.length + 1)).to(tokens.device)
    texts = tokens[places]
    return texts[:, :-1], texts[:, 1:]


def measure_loss(model: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy of the next tokens, nats."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def evaluate(model: torch.nn.Module, tokens: Tensor, config: LanguageModels) -> float:
    """The cross-entropy of a text that is cut into pieces, nats a token."""
    model.eval()
    pieces = (len(tokens) - 1) // config.length
    x = tokens[: pieces * config.length].view(pieces, -1)
    y = tokens[1 : pieces * config.length + 1].view(pieces, -1)
    total = x.new_zeros((), dtype=torch.float64)
    for part, wanted in zip(x.split(config.batch_size), y.split(config.batch_size), strict=True):
        total += measure_loss(model, part, wanted).double() * len(part)
    return float(total / pieces)


def report(
    model: DirectFeedback, corpus: Corpus, config: LanguageModels, run: Run, kept: Kept
) -> Metrics:
    """The metrics, and the curve of the validation perplexity."""
    curve = torch.tensor(kept.series["validation"]).exp()
    run.series(
        "perplexity", kept.series["step"], curve, x_label="minibatches", y_label="perplexity"
    )
    x, y = take_batch(corpus.train, config, run)
    model.eval()
    cosines = torch.stack(list(alignment(model, lambda: measure_loss(model, x, y)).values()))
    found = [float(cosine) for cosine in cosines.nan_to_num(0.0)]
    return {
        "validation_perplexity": float(torch.tensor(kept.numbers["best"]).exp()),
        "perplexity": float(torch.tensor(kept.numbers["test"]).exp()),
        "bigram_perplexity": bigram_perplexity(corpus),
        "alignment": min(found),
        "first_alignment": found[0],
        "last_alignment": found[-1],
    }
