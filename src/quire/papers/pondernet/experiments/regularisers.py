"""Parity under other penalties and halting networks, and every stop rule on the same network."""

import torch
from torch import Tensor

from quire.lab import Metrics, Run
from quire.papers.pondernet.experiments.learner import Learner, score
from quire.papers.pondernet.experiments.parity import (
    Parity,
    draw_test_set,
    evaluate_parity,
    train_parity,
)
from quire.papers.pondernet.experiments.tasks import Examples
from quire.papers.pondernet.rules import (
    StopRule,
    argmax,
    calibrate_threshold,
    expected,
    median,
    sample,
    stop,
    threshold,
)


def regularisers(config: Parity, run: Run) -> Metrics:
    """What `parity` measures, and a table of stop rules over one unroll of another test set.

    Rules that can follow a renormalised distribution do, where the network was trained with one;
    `forced` is the paper's sampling with its certain halt at N.
    """
    truncation = config.halting.truncation
    learner, curriculum = train_parity(config, run)
    metrics = evaluate_parity(config, run, learner, curriculum)
    test = draw_test_set(config, run, "rules", most=config.seen)
    predictions, logits = unroll(learner, test)
    # The threshold is chosen on examples that the table does not see.
    valid = draw_test_set(config, run, "valid", most=config.seen)
    valid_predictions, valid_logits = unroll(learner, valid)
    tau = calibrate_threshold(valid_logits, score(valid_predictions, valid.target, 2))
    rules: dict[str, StopRule] = {
        "sample": sample(run.rng("rules"), truncation=truncation),
        "forced": sample(run.rng("forced")),
        "argmax": argmax(truncation=truncation),
        "median": median(),
        "threshold90": threshold(0.9),
        "expected_prediction": expected(truncation=truncation),
        "calibrated": threshold(tau),
    }
    for name, rule in rules.items():
        answer = stop(predictions, logits, rule)
        metrics[f"{name}_accuracy"] = 100 * float(score(answer.prediction, test.target).mean())
        metrics[f"{name}_steps"] = float(answer.steps.float().mean())
    gap = abs(metrics["seen_accuracy"] - metrics["expected_accuracy"])
    return metrics | {"calibrated_tau": tau, "deployment_gap": gap}


def unroll(learner: Learner, examples: Examples) -> tuple[Tensor, Tensor]:
    """Predictions (N, B, 1) and halt logits (N, B) of all N steps."""
    with torch.no_grad():
        predictions, logits, _ = learner.net(examples.x)
    return predictions, logits
