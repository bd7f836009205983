import itertools

import pytest
import torch

from papers.t5.test_model import ARCHITECTURES, make, pair, tokens
from quire.nn import devices
from quire.papers.t5 import Decoding, add_adapters, add_low_ranks, from_transformers, generate
from quire.papers.t5.generation import PACK_FROM, can_pack, penalty


def sharp(architecture="encoder-decoder", *, seed=0, **options):
    model = make(architecture, seed=seed, **options)
    with torch.no_grad():
        model.table.weight.mul_(4.0)  # sure enough that hypotheses differ
    return model


def until(row, end=1):
    row = [int(token) for token in row]
    return row[: row.index(end) + 1] if end in row else row


@pytest.mark.parametrize("gated", [False, True], ids=["v1.0", "v1.1"])
@pytest.mark.parametrize("beams", [1, 3])
def test_outputs_are_those_of_transformers(gated, beams):
    theirs, inputs, _ = pair(gated)
    ours = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    inputs = torch.randint(2, 60, (8, 9))
    inputs[1, 5:] = 0
    found = generate(ours, inputs, 8, beams=beams, alpha=0.0)
    wanted = theirs.generate(
        input_ids=inputs, attention_mask=(inputs != 0).long(), max_new_tokens=8, do_sample=False,
        num_beams=beams, length_penalty=0.0,
    )[:, 1:]  # fmt: skip
    assert [until(row) for row in found] == [until(row) for row in wanted]
    assert len({tuple(until(row)) for row in found}) > 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tuned", [False, True])
@torch.no_grad()
def test_step_by_step_is_all_at_once(architecture, tuned):
    model, inputs, targets = sharp(architecture), tokens(3, 7), tokens(3, 6)
    inputs[1, 4:] = 0
    if tuned:
        for parameter in [*add_adapters(model, 4), *add_low_ranks(model, 2)]:
            parameter.normal_()
    whole = model(inputs, targets)
    decoding = Decoding(model, inputs, 6, beams=2)
    token = torch.zeros(6, dtype=torch.int64)
    for place in range(6):
        logits = decoding.step(token)
        torch.testing.assert_close(logits[::2], whole[:, place])
        torch.testing.assert_close(logits[1::2], whole[:, place])
        token = targets[:, place].repeat_interleave(2)


@pytest.mark.parametrize("gated", [False, True])
@torch.no_grad()
def test_packed_weights_are_the_same_product(gated):
    model = sharp(gated=gated, tied=not gated).float()
    add_adapters(model, 4)
    if not can_pack(model.table.weight):
        pytest.skip("torch has no oneDNN here")
    inputs, targets = tokens(3, 7), tokens(3, PACK_FROM)
    names = set(model.state_dict())
    whole = model(inputs, targets)
    decoding = Decoding(model, inputs, PACK_FROM)
    token = torch.zeros(3, dtype=torch.int64)
    for place in range(PACK_FROM):
        torch.testing.assert_close(decoding.step(token), whole[:, place], rtol=1e-4, atol=1e-4)
        token = targets[:, place]
    assert set(model.state_dict()) == names
    assert decoding.layers[0] is not model.decoder.layers[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_takes_the_likeliest_token(architecture):
    model, inputs = sharp(architecture), tokens(4, 7)
    inputs[2, 3:] = 0
    found = generate(model, inputs, 6)
    likeliest = model(inputs, found).argmax(-1)
    for row, wanted in zip(found.tolist(), likeliest.tolist(), strict=True):
        end = len(until(row))
        assert row[:end] == wanted[:end]
        assert not any(row[end:])


@torch.no_grad()
def scores(model, source, length, alpha):
    """Every output of up to `length` tokens of a vocabulary of 6, with its score."""
    texts = sorted({tuple(until(text)) for text in itertools.product(range(6), repeat=length)})
    # Padding within a text is read as a token; what follows an end is not looked at.
    targets = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
    logp = model(source.expand(len(texts), -1), targets).log_softmax(-1)
    picked = logp.gather(-1, targets[..., None])[..., 0]
    found = {}
    for text, row in zip(texts, picked, strict=True):
        found[text] = float(row[: len(text)].sum()) / penalty(len(text), alpha)
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_enough_beams_find_the_best_of_all(alpha):
    model = small_vocabulary()
    for seed in range(3):
        source = torch.randint(2, 6, (1, 4), generator=torch.Generator().manual_seed(seed))
        found = scores(model, source, 3, alpha)
        best = max(found, key=found.get)
        text = generate(model, source, 3, beams=200, alpha=alpha)
        assert tuple(until(text[0])) == best


def small_vocabulary(seed=0):
    from quire.papers.t5 import T5, Size

    torch.manual_seed(seed)
    model = T5(Size(8, 16, heads=2, layers=1, head_dim=4), vocabulary=6).double().eval()
    with torch.no_grad():
        model.table.weight.mul_(2.0)
    return model


def test_one_beam_is_greedy():
    from quire.papers.t5.generation import Ensemble, _search

    model, inputs = sharp(), tokens(5, 7)
    with torch.no_grad():
        searched = _search(
            Ensemble([Decoding(model, inputs, 6)]), inputs, 6, beams=1, alpha=0.6, eos=1
        )
    assert torch.equal(searched, generate(model, inputs, 6))


def test_a_longer_penalty_prefers_longer_outputs():
    model = small_vocabulary()
    source = torch.randint(2, 6, (8, 4), generator=torch.Generator().manual_seed(0))
    sizes = [(generate(model, source, 5, beams=50, alpha=alpha) != 0).sum() for alpha in (0.0, 3.0)]
    assert sizes[1] >= sizes[0]


@torch.no_grad()
def test_an_ensemble_averages_logits():
    models, inputs = [sharp(seed=seed) for seed in range(3)], tokens(3, 7)
    found = generate(models, inputs, 5)
    logits = torch.stack([model(inputs, found) for model in models])
    for row, wanted in zip(found.tolist(), logits.mean(0).argmax(-1).tolist(), strict=True):
        assert until(row) == wanted[: len(until(row))]
    one = generate(models[:1], inputs, 5, beams=2)
    assert torch.equal(generate([models[0], models[0]], inputs, 5, beams=2), one)
    assert torch.equal(generate(models[0], inputs, 5, beams=2), one)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_device_is_asked_seldom_and_gives_the_same(beams, monkeypatch):
    model, inputs = sharp(), tokens(4, 7)
    wanted = generate(model, inputs, 9, beams=beams)
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    assert torch.equal(generate(model, inputs, 9, beams=beams), wanted)


def test_modes_stay_and_dropout_is_off():
    model, inputs = make(dropout=0.5), tokens(2, 7)
    model.train()
    model.decoder.layers[0].eval()
    first = generate(model, inputs, 5)
    assert torch.equal(generate(model, inputs, 5), first)
    assert model.training
    assert model.encoder.training
    assert not model.decoder.layers[0].training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_half_precision(architecture, dtype):
    model, inputs = sharp(architecture).to(dtype), tokens(2, 7)
    inputs[0] = 0
    assert generate(model, inputs, 4, beams=2).shape == (2, 4)


def test_one_token_and_no_rows():
    model, inputs = sharp(), tokens(2, 7)
    assert generate(model, inputs, 1, beams=2).shape == (2, 1)
    assert generate(model, inputs[:0], 3).shape == (0, 3)


def test_bad_input():
    model, inputs = sharp(), tokens(2, 7)
    with pytest.raises(ValueError, match="models of one vocabulary, got none"):
        generate([], inputs, 3)
    with pytest.raises(ValueError, match=r"of one vocabulary, got \[6, 40\]"):
        generate([model, small_vocabulary()], inputs, 3)
    with pytest.raises(ValueError, match=r"got 0, 3 and 0\.6"):
        generate(model, inputs, 3, beams=0)
