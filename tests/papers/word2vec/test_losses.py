"""The loss modules: sparse gradients, half precision, noise; NCE keeps noise that hits the word."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from quire.papers.word2vec import (
    Batched,
    FullSoftmax,
    HierarchicalSoftmax,
    NegativeSampling,
    NoiseContrastive,
    Training,
    Vocabulary,
    keep_probability,
    noise_distribution,
)
from quire.papers.word2vec.training import reference
from quire.papers.word2vec.training.reference import Form
from quire.papers.word2vec.training.session import build_tables

COUNTS = [9, 6, 3, 2, 1, 1]

MODULES = {
    "negative": lambda **options: NegativeSampling(COUNTS, 3, **options),
    "nce": lambda **options: NoiseContrastive(COUNTS, 3, **options),
    "hierarchical": lambda **options: HierarchicalSoftmax(COUNTS, 3, **options),
    "full": lambda **options: FullSoftmax(6, 3, **options),
}
CENTRE, CONTEXT = torch.tensor([0, 1, 0]), torch.tensor([1, 2, 1])
NOISE = torch.tensor([[1, 0], [2, 2], [3, 1]])  # some hits the context word


def gradients(name, **options):
    module = MODULES[name](**options).double()
    with torch.no_grad():
        for number, table in enumerate((module.input, module.output)):
            table.normal_(generator=torch.Generator().manual_seed(number))
    extra = (NOISE,) if name in ("negative", "nce") else ()
    module(CENTRE, CONTEXT, *extra).sum().backward()
    return module


@pytest.mark.parametrize("name", MODULES)
def test_sparse_gradients_are_the_dense_ones(name):
    dense, sparse = gradients(name), gradients(name, sparse=True)
    tables = ("input",) if name == "full" else ("input", "output")
    for table in tables:
        gradient = getattr(sparse, table).grad
        assert gradient.is_sparse
        assert gradient.coalesce().indices().numel() < 6
        torch.testing.assert_close(gradient.to_dense(), getattr(dense, table).grad)
    before = sparse.input.detach().clone()
    torch.optim.SGD([sparse.input], lr=0.1).step()
    assert not torch.equal(sparse.input[:2], before[:2])
    assert torch.equal(sparse.input[2:], before[2:])


@pytest.mark.parametrize("kind", [NegativeSampling, NoiseContrastive])
@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16])
def test_noise_stays_whole_in_half_precision(kind, cast):
    counts = [10**9] * 100 + [1] * 1000
    module = kind(counts, 2).to(cast)
    assert module.input.dtype == cast
    expected = torch.from_numpy(noise_distribution(counts)).float()
    for made in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(made.noise, expected)
        assert made.threshold.dtype == torch.float32
    words = torch.arange(100, 1100)
    assert module(words, words, words[:, None]).isfinite().all()


def test_noise_is_drawn_for_no_pair_and_in_proportion():
    module = NegativeSampling(COUNTS, 2)
    assert module.draw(0, 5, torch.Generator()).shape == (0, 5)
    drawn = module.draw(4000, 5, torch.Generator().manual_seed(3)).flatten()
    expected = noise_distribution(COUNTS) * len(drawn)
    assert stats.chisquare(np.bincount(drawn, minlength=6), expected).pvalue > 1e-3
    assert set(module.state_dict()) == {"input", "output", "noise"}


# NCE as it is trained


def tables_of(loss, negative, *, cbow=False, shared=True):
    """Two words that are equally frequent: half of the noise hits the word itself."""
    form = Form(3, 1, negative, cbow, loss, shared)
    rng = np.random.default_rng(5)
    vectors, output = (rng.normal(size=(2, 3)).astype(np.float32) for _ in range(2))
    vocabulary = Vocabulary(["a", "b"], [50, 50])
    return build_tables(vocabulary, vectors, output, form, 0, Training()), form


@pytest.mark.parametrize("loss", ["nce", "negative"])
def test_noise_that_hits_the_word_counts_in_nce_alone(loss):
    tables, form = tables_of(loss, 200)
    targets = reference.Stream(3, tables, form).targets(0)
    batch = Batched(tables, form, "cpu")._targets(torch.tensor([0]), torch.Generator())
    drawn = {"twin": len(targets) - 1, "batch": int(batch.valid.sum()) - 1}
    for count in drawn.values():
        assert (count == 200) if loss == "nce" else (60 < count < 140)
    # What is drawn has the loss of the module, with its noise.
    module = {"nce": NoiseContrastive, "negative": NegativeSampling}[loss]([50, 50], 3).double()
    with torch.no_grad():
        module.input.copy_(torch.from_numpy(tables.input))
        module.output.copy_(torch.from_numpy(tables.output))
    noise = batch.rows[:, 1:]
    x = torch.from_numpy(tables.input)[1][None, None]
    model = Batched(tables, form, "cpu")
    total, error = model._logistic(x, torch.ones(1, 1, dtype=torch.bool), batch, 0.0)
    expected = module(torch.tensor([1]), torch.tensor([0]), noise).sum()
    expected.backward()
    assert float(total) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(error[0, 0].double(), -module.input.grad[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", ["nce", "negative"])
def test_the_compiled_loop_trains_with_the_module_s_noise(loss):
    """At a rate of nearly zero the loss of a pair is the module's, with the twin's own draws."""
    kernel = pytest.importorskip("quire.papers.word2vec.training.kernel")
    tables, form = tables_of(loss, 7)
    schedule = reference.Schedule(1e-12, 1.0, 0.0, 2.0, 10)
    rows = np.array([0, 1, -1], np.int32)
    found = kernel.compiled(form)(rows, tables, schedule, np.uint64(9))
    assert found[2] == 2
    module = {"nce": NoiseContrastive, "negative": NegativeSampling}[loss]([50, 50], 3)
    with torch.no_grad():
        module.input.copy_(torch.from_numpy(tables.input))
        module.output.copy_(torch.from_numpy(tables.output))
    stream, expected = reference.Stream(9, tables, form), 0.0
    for word, other in ((0, 1), (1, 0)):
        stream.below(1)  # the window
        drawn = torch.tensor([[stream.noise() for _ in range(7)]])
        assert (drawn == word).any()
        expected += float(module(torch.tensor([other]), torch.tensor([word]), drawn).detach())
    assert found[1] == pytest.approx(expected, rel=5e-3)


def test_the_compiled_draws_are_the_twin_s():
    kernel = pytest.importorskip("quire.papers.word2vec.training.kernel")
    form = Form(1, 1, 1, False, "negative", False)
    table = np.zeros((6, 1), np.float32)
    tables = build_tables(
        Vocabulary(list("abcdef"), COUNTS), table, table.copy(), form, 0.1, Training()
    )
    draw_noise, draw_kept = kernel.compiled_draws()
    stream = reference.Stream(7, tables, form)
    assert draw_noise(tables, np.uint64(7), 300).tolist() == [stream.noise() for _ in range(300)]
    tokens = np.tile(np.arange(6, dtype=np.int32), 300)
    stream, kept, place = reference.Stream(8, tables, form), [], 0
    while place < len(tokens):
        more, place, _ = stream.sentence(tokens, place)
        kept += more
    found = draw_kept(tables, tokens, np.uint64(8))
    assert found.tolist() == kept
    share = np.bincount(found, minlength=6) / 300
    np.testing.assert_allclose(share, keep_probability(COUNTS, 0.1), atol=0.15)


def test_without_a_folder_for_its_cache_the_loop_compiles_all_the_same(monkeypatch):
    """A read-only installation and home: numba finds no place for what it compiles."""
    pytest.importorskip("numba")
    from numba.core import caching

    from quire.papers.word2vec.training import kernel

    monkeypatch.setattr(caching.FunctionCache._impl_class, "_locator_classes", [])
    assert kernel._cached(lambda x: x + 1)(1) == 2
