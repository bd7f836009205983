import pytest
import torch

from quire.nn import naive_softmax_attention
from quire.papers.t5 import (
    SIZES,
    T5,
    Attention,
    FeedForward,
    RMSNorm,
    Size,
    count_parameters,
    from_transformers,
    load_checkpoint,
    to_transformers,
)

TINY = Size(16, 32, heads=2, layers=2, head_dim=8)
ARCHITECTURES = ("encoder-decoder", "shared", "causal", "prefix")


def make(architecture="encoder-decoder", *, seed=0, **options):
    torch.manual_seed(seed)
    model = T5(TINY, architecture, vocabulary=40, **options).double().eval()
    with torch.no_grad():
        for stack in (model.encoder, model.decoder):
            if stack is not None:
                stack.bias.weight.normal_()  # so that positions and masks matter
    return model


def tokens(*shape, seed=1):
    return torch.randint(2, 40, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("small", 60_506_624),
        ("base", 222_903_552),
        ("large", 737_668_096),
        ("3b", 2_851_598_336),
        ("11b", 11_307_321_344),
        ("base-6", 123_790_080),
        ("2x", 502_746_112),
        ("4x", 972_590_080),
    ],
)
def test_published_sizes(size, count):
    assert count_parameters(size) == count
    with torch.device("meta"):
        model = T5(size)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_laptops_size():
    assert count_parameters("laptop", vocabulary=2000) == 1_175_296


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("options", [{}, {"gated": True, "tied": False}])
def test_counts_of_architectures(architecture, options):
    model = T5(TINY, architecture, vocabulary=40, **options)
    wanted = count_parameters(TINY, architecture, vocabulary=40, **options)
    assert sum(p.numel() for p in model.parameters()) == wanted


def test_architectures_cost_what_table_2_says():
    two = count_parameters("base") - 32_128 * 768
    one = count_parameters("base", "causal") - 32_128 * 768
    assert two / one == pytest.approx(2.33, abs=0.01)  # a third more is the memory's attention
    assert count_parameters("base", "prefix") - 32_128 * 768 == one


def pair(gated):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=60, d_model=16, d_ff=32, num_heads=2, num_layers=2, d_kv=8, dropout_rate=0.0,
        feed_forward_proj="gated-gelu" if gated else "relu", decoder_start_token_id=0,
        tie_word_embeddings=not gated, scale_decoder_outputs=not gated,
    )  # fmt: skip
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    if gated:  # transformers ties every new T5; the published v1.1 has a matrix of its own
        theirs.lm_head.weight = torch.nn.Parameter(torch.empty(60, 16))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.4)
        theirs.shared.weight.normal_(std=3.0 if not gated else 1.0)
    inputs, targets = torch.randint(2, 60, (3, 9)), torch.randint(2, 60, (3, 6))
    inputs[1, 5:], targets[2, 4:] = 0, 0
    return theirs, inputs, targets


@pytest.mark.parametrize("gated", [False, True], ids=["v1.0", "v1.1"])
def test_logits_loss_and_gradients_are_those_of_transformers(gated):
    theirs, inputs, targets = pair(gated)
    ours = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    out = theirs(
        input_ids=inputs, attention_mask=(inputs != 0).long(),
        labels=targets.masked_fill(targets == 0, -100),
    )  # fmt: skip
    torch.testing.assert_close(ours(inputs, targets), out.logits, rtol=1e-4, atol=1e-5)
    loss = ours.loss(inputs, targets)
    torch.testing.assert_close(loss, out.loss)
    loss.backward()
    out.loss.backward()
    mine = dict(ours.named_parameters())
    for name in ("encoder.bias.weight", "decoder.bias.weight", "table.weight"):
        assert mine[name].grad.abs().sum() > 0
    block = theirs.decoder.block[0].layer
    table = block[0].SelfAttention.relative_attention_bias.weight.grad
    torch.testing.assert_close(mine["decoder.bias.weight"].grad, table, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(mine["table.weight"].grad, theirs.shared.weight.grad,
                               rtol=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("gated", [False, True], ids=["v1.0", "v1.1"])
def test_weights_go_to_transformers_and_back_by_way_of_a_folder(gated, tmp_path):
    theirs, inputs, targets = pair(gated)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path)
    exported = to_transformers(ours)
    assert set(exported) == set(theirs.state_dict())
    theirs.load_state_dict({name: x + 0 for name, x in exported.items()})
    again = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    assert torch.equal(again(inputs, targets), ours(inputs, targets))
    assert all(p.requires_grad and p.device.type == "cpu" for p in ours.parameters())


def test_a_tie_without_scale_is_copied():
    theirs, inputs, targets = pair(True)
    theirs.lm_head.weight = theirs.shared.weight
    weights = {n: w for n, w in theirs.state_dict().items() if n != "lm_head.weight"}
    ours = from_transformers(theirs.config.to_dict(), weights)
    logits = theirs(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=targets).logits
    torch.testing.assert_close(ours(inputs, targets), logits, rtol=1e-4, atol=1e-5)


def test_checkpoints_by_name(tmp_path, monkeypatch):
    theirs, _, _ = pair(False)
    folder = tmp_path / "models--google-t5--t5-small" / "snapshots" / "abc"
    theirs.save_pretrained(folder)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert load_checkpoint("small").size == TINY
    with pytest.raises(FileNotFoundError, match="no checkpoint base: give a folder"):
        load_checkpoint("base")


def test_weights_that_do_not_fit():
    theirs, _, _ = pair(False)
    config, weights = theirs.config.to_dict(), theirs.state_dict()
    with pytest.raises(ValueError, match=r"shared.weight should be \(61, 16\), got \(60, 16\)"):
        from_transformers(config | {"vocab_size": 61}, weights)
    with pytest.raises(ValueError, match="must be 'relu' or 'gated-gelu', got 'silu'"):
        from_transformers(config | {"feed_forward_proj": "silu"}, weights)
    with pytest.raises(ValueError, match="this one's architecture is 'causal'"):
        to_transformers(make("causal"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_target_sees_no_later_one_and_padding_changes_nothing(architecture):
    model, inputs, targets = make(architecture), tokens(2, 7), tokens(2, 6)
    other = targets.clone()
    other[:, 3] = 2 + (other[:, 3] + 5) % 38
    a, b = model(inputs, targets), model(inputs, other)
    torch.testing.assert_close(a[:, :4], b[:, :4])
    assert not torch.allclose(a[:, 4:], b[:, 4:])
    longer = model(
        torch.nn.functional.pad(inputs, (0, 3)), torch.nn.functional.pad(targets, (0, 2))
    )
    torch.testing.assert_close(longer[:, :6], a)
    alone = model(inputs[:1], targets[:1])
    torch.testing.assert_close(alone, a[:1])


@pytest.mark.parametrize("architecture", ["causal", "prefix"])
def test_what_inputs_see(architecture):
    """Changing the last input changes what the first one gives only where the prefix is whole."""
    model, inputs = make(architecture), tokens(2, 7)
    other = inputs.clone()
    other[:, -1] = 2 + (other[:, -1] + 5) % 38
    outputs = []
    for each in (inputs, other):
        text, allowed = model._join(each, each[:, :0])
        outputs.append(model.decoder(model.embed(text), allowed)[:, 0])
    assert torch.allclose(*outputs) == (architecture == "causal")


def as_prefix(model):
    """The causal model with the table of a prefix model, which also has buckets for looking ahead.

    Without it the two differ in their positions already.
    """
    prefix = make("prefix")
    causal = make("causal")
    causal.decoder = prefix.decoder
    causal.table = prefix.table
    return causal, prefix


def test_without_a_prefix_a_prefix_lm_is_causal():
    causal, prefix = as_prefix("causal")
    targets = tokens(2, 6)
    for inputs in (torch.zeros(2, 1, dtype=torch.int64), tokens(2, 1)):
        torch.testing.assert_close(prefix(inputs, targets), causal(inputs, targets))
    inputs = tokens(2, 5)
    assert not torch.allclose(prefix(inputs, targets), causal(inputs, targets))


def test_all_prefix_is_bidirectional():
    prefix, two = make("prefix"), make()
    two.encoder.load_state_dict(prefix.decoder.state_dict())
    two.table = prefix.table
    inputs = tokens(2, 7)
    text, allowed = prefix._join(inputs, inputs[:, :0])
    y = prefix.decoder(prefix.embed(text), allowed)
    torch.testing.assert_close(y, two.encode(inputs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_packed_batch_is_its_examples(architecture):
    model = make(architecture)
    sizes = [(5, 3), (2, 4), (4, 1)]
    parts = [(tokens(1, i, seed=i), tokens(1, t, seed=10 + t)) for i, t in sizes]

    def row(side, fill=0):
        numbers = torch.cat([torch.full_like(part[side], n + 1) for n, part in enumerate(parts)], 1)
        joined = torch.cat([part[side] for part in parts], 1)
        pads = (0, 2)
        return torch.nn.functional.pad(joined, pads), torch.nn.functional.pad(numbers, pads)

    inputs, input_segments = row(0)
    targets, target_segments = row(1)
    packed = model(inputs, targets, input_segments, target_segments)
    apart = torch.cat([model(*part)[0] for part in parts])
    torch.testing.assert_close(packed[0, : len(apart)], apart)
    losses = torch.stack([model.loss(*part) * part[1].numel() for part in parts])
    torch.testing.assert_close(
        model.loss(inputs, targets, input_segments, target_segments), losses.sum() / 8
    )


def test_shared_stacks_are_one_set_of_layers():
    model = make("shared")
    for first, second in zip(model.encoder.layers, model.decoder.layers, strict=True):
        assert first.attention is second.attention
        assert first.feed_forward is second.feed_forward
    assert model.encoder.bias is not model.decoder.bias


def test_whole_text_loss_of_a_causal_model():
    model, inputs, targets = make("causal"), tokens(2, 5), tokens(2, 4)
    text = torch.cat((inputs, targets), 1)
    wanted = model.loss(text[:, :1], text[:, 1:])
    torch.testing.assert_close(model.loss(inputs, targets, whole=True), wanted)
    with pytest.raises(ValueError, match="whole is for the causal architecture"):
        make("prefix").loss(inputs, targets, whole=True)


def test_the_loss_counts_targets_and_no_padding():
    model, inputs, targets = make(), tokens(2, 5), tokens(2, 4)
    targets[0, 2:] = 0
    logp = model(inputs, targets).log_softmax(-1)
    picked = logp.gather(-1, targets[..., None])[..., 0]
    wanted = -(picked[0, :2].sum() + picked[1].sum()) / 6
    torch.testing.assert_close(model.loss(inputs, targets), wanted)
    assert model.loss(inputs, torch.zeros_like(targets)) == 0
    assert model.loss(inputs[:0], targets[:0]) == 0


def test_attention_is_the_formula_without_the_root():
    torch.manual_seed(0)
    attention = Attention(8, 2, head_dim=4).double()
    x, context = torch.randn(3, 5, 8).double(), torch.randn(3, 7, 8).double()
    bias = torch.randn(2, 5, 7).double()
    q = (attention.query(x)).view(3, 5, 2, 4).transpose(1, 2)
    keys, values = attention.project(context)
    weights = (q @ keys.transpose(-1, -2) + bias).softmax(-1)
    wanted = attention.output((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, context, bias), wanted)
    # With the root taken out of the queries it is the house's own attention.
    house = naive_softmax_attention(2 * q, keys, values)
    torch.testing.assert_close(
        attention(x, context), attention.output(house.transpose(1, 2).flatten(2))
    )


@pytest.mark.parametrize("gated", [False, True])
def test_half_precision_stays_finite_where_its_largest_number_is_passed(gated):
    torch.manual_seed(0)
    part = FeedForward(16, 64, gated=gated)
    with torch.no_grad():
        part.output.weight.mul_(2e4 if gated else 3e4)
    x = 3 * torch.randn(4, 16)
    wanted = part(x)
    assert wanted.abs().max() > 65_504
    torch.testing.assert_close(
        part.half()(x.half()), wanted, rtol=0.02, atol=float(wanted.detach().std()) * 0.01
    )
    large = torch.full((2, 16), 6e4).half()
    torch.testing.assert_close(RMSNorm(16).half()(large), torch.ones(2, 16).half())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_model(architecture, dtype):
    model, inputs, targets = make(architecture), tokens(2, 7), tokens(2, 6)
    with torch.no_grad():
        for layer in model.decoder.layers:
            layer.feed_forward.output.weight.mul_(1e4)
    inputs[1, 3:] = 0
    inputs[0] = 0  # nothing but padding
    wanted = model(inputs, targets)
    found = model.to(dtype)(inputs, targets)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert (found.double() - wanted).abs().mean() < 0.05 * wanted.std()
    model.loss(inputs, targets).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_autocast_stays_finite():
    model, inputs, targets = make().float(), tokens(2, 7), tokens(2, 6)
    with torch.no_grad():
        model.encoder.layers[0].feed_forward.output.weight.mul_(1e5)
    wanted = model(inputs, targets)
    with torch.autocast("cpu", dtype=torch.float16):
        found = model(inputs, targets)
    assert found.isfinite().all()
    assert (found.float() - wanted).abs().mean() < 0.05 * wanted.std()


@pytest.mark.parametrize("architecture", ["shared", "prefix"])
def test_it_compiles_whole(architecture):
    model, inputs, targets = make(architecture), tokens(2, 7), tokens(2, 6)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs, targets), model(inputs, targets))


def test_dropout_acts_in_training_alone():
    model, inputs, targets = make(dropout=0.5), tokens(2, 7), tokens(2, 6)
    assert torch.equal(model(inputs, targets), model(inputs, targets))
    model.train()
    assert not torch.equal(model(inputs, targets), model(inputs, targets))


def test_bad_input():
    with pytest.raises(ValueError, match="size must be a Size or one of small, base"):
        T5("tiny")
    with pytest.raises(ValueError, match="architecture must be one of encoder-decoder, shared"):
        T5(TINY, "encoder")
    with pytest.raises(ValueError, match="at least 1"):
        T5(TINY._replace(layers=0))
    model, targets = make("causal"), tokens(2, 4)
    with pytest.raises(ValueError, match="at least one column"):
        model(targets[:, :0], targets)
    with pytest.raises(ValueError, match="segments of both inputs and targets"):
        model(targets, targets, torch.ones_like(targets))
    with pytest.raises(ValueError, match="the causal architecture has no encoder"):
        model.encode(targets)


def test_names_of_sizes_are_the_published_ones():
    assert SIZES["small"] == (512, 2048, 8, 6, 64)
    v11 = count_parameters("small-v1.1", gated=True, tied=False)
    assert v11 == 76_961_152
