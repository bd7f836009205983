import torch

from quire.papers.gshard import Dropless, MixtureOfExperts, Translator, every_other, mixtures, side


def make(router=None, layers=2):
    torch.manual_seed(0)
    options = {} if router is None else {"router": router}
    parts = every_other(8, hidden=12, experts=4, expert_hidden=6, **options)
    return Translator(11, 8, heads=2, parts=parts, layers=layers).double().eval()


def test_every_other_layer_has_a_mixture_in_encoder_and_decoder():
    model = make(layers=4)
    for stack in (model.model.encoder, model.model.decoder):
        kinds = [isinstance(layer.feed_forward, MixtureOfExperts) for layer in stack.layers]
        assert kinds == [False, True, False, True]
    assert len(mixtures(model)) == 4


def test_a_token_sees_no_later_one_where_nothing_is_dropped():
    model = make(Dropless())
    source = torch.randint(1, 11, (2, 7))
    target = torch.randint(1, 11, (2, 6))
    other = target.clone()
    other[:, 3] = 1 + other[:, 3] % 10
    a, b = model(source, target), model(source, other)
    torch.testing.assert_close(a[:, :4], b[:, :4])
    assert not torch.allclose(a[:, 4:], b[:, 4:])


def test_padding_changes_no_other_token():
    model = make(Dropless())
    source, target = torch.randint(1, 11, (2, 7)), torch.randint(1, 11, (2, 6))
    longer = torch.nn.functional.pad(source, (0, 3))
    torch.testing.assert_close(model(longer, target), model(source, target))
    model(longer, torch.nn.functional.pad(target, (0, 2)))
    assert side(model)["load"].sum(1).tolist() == [28, 24]  # two for each that counts


def test_greedy_translations_are_the_likeliest_tokens():
    model = make(Dropless())
    source = torch.randint(1, 11, (3, 7))
    found = model.translate(source, 5)
    likeliest = model(source, found.clamp(min=1)).argmax(-1)
    for row, wanted in zip(found, likeliest, strict=True):
        end = next((i for i, token in enumerate(row.tolist()) if token == 0), 5)
        assert row[:end].tolist() == wanted[:end].tolist()
        assert not row[end:].any()
