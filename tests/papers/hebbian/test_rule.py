"""The rule against its equation, in every form, and in its limits."""

import itertools

import pytest
import torch

from quire.papers.hebbian import FROZEN, PAPER, Form, HebbianRule, read_authors
from quire.papers.hebbian.rule import change, normalize

FORMS = [
    Form(terms, rate, constant, normalize=False)
    for terms, rate, constant in itertools.product(
        ("A", "B", "C", "D", "AB", "AD", "BC", "ABC", "ACD", "ABCD"),
        (True, False),
        ("inside", "outside", "both"),
    )
    if constant == "inside" or (rate and "D" in terms)
]


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def by_hand(form, planes, x, y):
    """What one synapse changes by; planes: its coefficients in their order."""
    known = dict(zip(form.terms, planes, strict=False))
    a, b, c, d = (known.get(term, 0.0) for term in "ABCD")
    eta = planes[len(form.terms)] if form.rate else 1.0
    if form.constant == "outside":
        return eta * (a * x * y + b * x + c * y) + d
    outside = planes[-1] if form.constant == "both" else 0.0
    return eta * (a * x * y + b * x + c * y + d) + outside


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.name}-{f.constant}")
def test_a_batched_update_is_the_equation(form, grad):
    coefficients = drawn(2, 1, form.count, 4, 3)  # two rules, lived three times each
    pre, post, weights = drawn(2, 3, 3, seed=1), drawn(2, 3, 4, seed=2), drawn(2, 3, 4, 3, seed=3)
    before = weights.clone()
    with torch.set_grad_enabled(grad):
        found = change(form.fold(coefficients), pre, post, weights)
    assert torch.equal(weights, before)
    for p, e, j, i in itertools.product(range(2), range(3), range(4), range(3)):
        planes = coefficients[p, 0, :, j, i].tolist()
        wanted = before[p, e, j, i] + by_hand(form, planes, pre[p, e, i], post[p, e, j])
        torch.testing.assert_close(found[p, e, j, i], wanted, rtol=1e-12, atol=1e-12)


def test_one_update_by_hand():
    rule = HebbianRule(1, 1, form=Form(normalize=False))
    with torch.no_grad():
        rule.coefficients.copy_(torch.tensor([2.0, 3.0, 5.0, 7.0, 0.1]).reshape(5, 1, 1))
    after = rule(torch.tensor([0.5]), torch.tensor([-1.0]), torch.tensor([[1.0]]))
    # 1 + 0.1 (2 * 0.5 * -1 + 3 * 0.5 + 5 * -1 + 7)
    assert after.item() == pytest.approx(1.25)


@pytest.mark.parametrize("grad", [True, False])
def test_normalisation_divides_each_layer_by_its_largest_weight(grad):
    layers = torch.stack([drawn(4, 3), 1e-20 * drawn(4, 3), torch.zeros(4, 3), -drawn(4, 3).abs()])
    found = normalize(layers)
    assert found.abs().amax((-2, -1)).tolist() == [1, 1, 0, 1]
    torch.testing.assert_close(found[0], layers[0] / layers[0].abs().max())
    form, rule = Form(), drawn(5, 4, 3)
    with torch.set_grad_enabled(grad):
        after = form.apply(form.fold(rule), drawn(4, 3), drawn(4, 4), layers)
    grown = change(form.fold(rule), drawn(4, 3), drawn(4, 4), layers)
    torch.testing.assert_close(after, normalize(grown))


def test_a_frozen_form_changes_nothing_and_has_no_coefficients():
    weights = drawn(2, 4, 3)
    assert FROZEN.count == 0
    folded = FROZEN.fold(torch.zeros(0, 4, 3))
    assert FROZEN.apply(folded, drawn(2, 3), drawn(2, 4), weights) is weights


def test_rows_of_the_authors_are_read_in_their_order():
    inputs, outputs = 3, 4
    rows = drawn(inputs * outputs, 5)
    planes = read_authors(rows, inputs, outputs)
    for i, j in itertools.product(range(inputs), range(outputs)):
        a, b, c, eta, d = rows[i * outputs + j].tolist()
        assert planes[:, j, i].tolist() == [a, b, c, d, eta]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_keep_their_precision(dtype):
    rule = HebbianRule(3, 4).to(dtype)
    after = rule(torch.randn(2, 3).to(dtype), torch.randn(2, 4).to(dtype),
                 torch.zeros(2, 4, 3, dtype=dtype))  # fmt: skip
    assert after.dtype == dtype
    assert after.isfinite().all()


def test_one_rule_for_a_layer():
    rule = HebbianRule(3, 4, form=Form("D", rate=False, normalize=False), shared=True)
    assert rule.coefficients.shape == (1, 1, 1)
    after = rule(torch.randn(2, 3), torch.randn(2, 4), torch.zeros(2, 4, 3))
    assert after.unique().numel() == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Form("BA"), "terms are some of ABCD in this order, got 'BA'"),
        (lambda: Form("AAD"), "in this order"),
        (lambda: Form("ABCE"), "in this order"),
        (lambda: Form(constant="beside"), "constant is inside, outside or both"),
        (lambda: Form("ABC", constant="outside"), "only where there are D and eta"),
        (lambda: Form("D", rate=False, constant="both"), "only where there are D and eta"),
        (lambda: HebbianRule(0, 3), "neurons on both sides"),
        (lambda: PAPER.fold(torch.zeros(4, 2, 3)), "5 coefficients a synapse, got 4"),
        (lambda: read_authors(torch.zeros(6, 5), 3, 4), r"rows \(12, 5\)"),
        (
            lambda: HebbianRule(3, 4)(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(4, 3)),
            "activities and weights must end in",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
