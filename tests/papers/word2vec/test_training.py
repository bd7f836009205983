"""The training loops: against the authors' program, against one another, against autograd."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quire.papers.word2vec import (
    Batched,
    FullSoftmax,
    HierarchicalSoftmax,
    NegativeSampling,
    NoiseContrastive,
    Training,
    Vocabulary,
    Word2Vec,
    analogies,
    huffman,
    keep_probability,
    noise_table,
)
from quire.papers.word2vec.corpus import scratch
from quire.papers.word2vec.experiments.generators import factor_corpus, factor_questions
from quire.papers.word2vec.training import reference
from quire.papers.word2vec.training.batched import Targets
from quire.papers.word2vec.training.reference import (
    INCREMENT,
    MODULUS,
    MULTIPLIER,
    NO_DRAW,
    Form,
    Schedule,
    Tables,
    sigmoid_table,
)
from quire.papers.word2vec.training.session import build_tables

AUTHORS = Path(__file__).with_name("authors.npz")
"""A made-up corpus over 201 words, and the vectors that the authors' program (word2vec.c, compiled
with gcc -O1) made of it in one thread and one epoch: 4 dimensions, window 5, rate 0.05."""


@pytest.fixture(scope="module")
def table():
    return noise_table(np.load(AUTHORS)["counts"], 10**8)


def authors_setting(name, table):
    made = np.load(AUTHORS)
    counts, dim = made["counts"].tolist(), 4
    hierarchical, cbow = "hierarchical" in name, "cbow" in name
    form = Form(dim, 5, 5, cbow, "hierarchical" if hierarchical else "negative", False, replay=True)
    state, start = 1, []
    for _ in range(len(counts) * dim):
        state = (state * MULTIPLIER + INCREMENT) % MODULUS
        start.append(((state & 0xFFFF) / 65536 - 0.5) / dim)
    keep = keep_probability(counts, 1e-2) if name != "skip_gram_all" else np.full(201, NO_DRAW)
    tree = huffman(counts)
    tables = Tables(
        np.array(start, np.float32).reshape(-1, dim),
        np.zeros((len(counts), dim), np.float32),
        keep.astype(np.float32),
        np.zeros(0, np.float32),
        table,
        np.zeros(len(counts), np.float32),
        *tree,
        sigmoid_table(1000),
    )
    schedule = Schedule(0.05, 1e-4, 0.0, sum(counts) + 1.0, 10_000)
    return made["rows"].astype(np.int32), tables, schedule, form, made[name]


names = pytest.mark.parametrize(
    "name", ["skip_gram", "skip_gram_all", "hierarchical", "cbow", "cbow_hierarchical"]
)


@names
def test_the_twin_replays_the_authors_program(name, table):
    rows, tables, schedule, form, made = authors_setting(name, table)
    reference.train(rows, tables, schedule, 0, form)
    np.testing.assert_allclose(tables.input, made, atol=3e-4)


@pytest.mark.parametrize("name", ["skip_gram", "cbow_hierarchical"])
def test_the_compiled_loop_replays_the_authors_program(name, table):
    kernel = pytest.importorskip("quire.papers.word2vec.training.kernel")
    rows, tables, schedule, form, made = authors_setting(name, table)
    kernel.compiled(form)(rows, tables, schedule, np.uint64(0))
    np.testing.assert_allclose(tables.input, made, atol=3e-4)


def small(loss="negative", *, words=12, dim=5, seed=10, dtype=np.float32, **form):
    """Tables with random vectors and a corpus of a few sentences."""
    rng = np.random.default_rng(seed)
    counts = np.sort(rng.integers(5, 60, words))[::-1]
    vocabulary = Vocabulary([f"w{i}" for i in range(words)], counts)
    shape = Form(dim, 3, 4, form.pop("cbow", False), loss, form.pop("shared", False), **form)
    output = rng.normal(size=(words - (loss == "hierarchical"), dim)).astype(dtype)
    vectors = rng.normal(size=(words, dim)).astype(dtype)
    tables = build_tables(vocabulary, vectors, output, shape, 0.05, Training())
    rows = rng.integers(0, words, 300).astype(np.int32)
    rows[rng.random(300) < 0.1] = -1
    return rows, tables, shape


FORMS = {
    "": {},
    "shared": {"shared": True},
    "cbow": {"cbow": True},
    "corrected": {"cbow": True, "corrected": True},
    "sum": {"cbow": True, "cbow_mean": False},
    "fixed": {"fixed_window": True},
}
QUICK = {("negative", ""), ("negative", "shared"), ("hierarchical", "sum"), ("nce", "corrected"),
         ("full", "fixed")}  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        # Each form is compiled: seconds.
        pytest.param(
            loss, kind, id=f"{loss} {name}".strip(),
            marks=[] if (loss, name) in QUICK else [pytest.mark.slow],
        )
        for loss in ("negative", "hierarchical", "nce", "full")
        for name, kind in FORMS.items()
    ],
)  # fmt: skip
def test_the_compiled_loop_is_its_twin(loss, form):
    kernel = pytest.importorskip("quire.papers.word2vec.training.kernel")
    schedule = Schedule(0.025, 1e-4, 0.0, 400.0, 50)
    rows, ours, shape = small(loss, **form)
    _, twin, _ = small(loss, **form)
    state, total, pairs = kernel.compiled(shape)(rows, ours, schedule, np.uint64(77))
    expected = reference.train(rows, twin, schedule, 77, shape)
    assert (int(state), pairs) == (expected[0], expected[2])
    assert total == pytest.approx(expected[1], rel=2e-4)
    np.testing.assert_allclose(ours.input, twin.input, atol=2e-4)
    np.testing.assert_allclose(ours.output, twin.output, atol=2e-4)


def fine(tables):
    """The same tables with a sigmoid of so many bins that it is exact to 1e-6, in float64."""
    x = np.arange(2**22) / 2**22 * 12 - 6
    sigmoid = np.stack([1 / (1 + np.exp(-x)), np.log1p(np.exp(-x))])
    wide = {k: getattr(tables, k).astype(np.float64) for k in ("input", "output")}
    return tables._replace(sigmoid=sigmoid, **wide)


MODULES = {
    "negative": lambda counts: NegativeSampling(counts, 5),
    "nce": lambda counts: NoiseContrastive(counts, 5),
    "hierarchical": lambda counts: HierarchicalSoftmax(counts, 5),
    "full": lambda counts: FullSoftmax(len(counts), 5),
}


@pytest.mark.parametrize("loss", MODULES)
def test_updates_are_the_gradients_of_the_losses(loss):
    _, tables, form = small(loss)
    tables = fine(tables)._replace(input=tables.input * 0.3, output=tables.output * 0.3)
    tables = fine(tables)
    counts = np.sort(np.random.default_rng(10).integers(5, 60, 12))[::-1]
    module = MODULES[loss](counts).double()
    with torch.no_grad():
        module.input.copy_(torch.from_numpy(tables.input))
        module.output.copy_(torch.from_numpy(tables.output))
    v, word, noise = 3, 7, [1, 9, 4, 2]
    extra = (torch.tensor([noise]),) if loss in ("negative", "nce") else ()
    if loss == "nce":  # float32 in the tables
        module.noise.copy_(torch.from_numpy(np.exp(tables.shift.astype(np.float64)) / 4))
    module(torch.tensor([v]), torch.tensor([word]), *extra).sum().backward()
    stream = reference.Stream(1, tables, form)
    targets = stream.targets(word)
    if extra:
        targets = [(word, 1), *((n, 0) for n in noise)]
    rate = 1e-6
    before = tables.output.copy()
    _, error = reference.descend(tables.input[v].copy(), targets, tables, rate, form)
    np.testing.assert_allclose(error / rate, -module.input.grad[v], atol=1e-4)
    np.testing.assert_allclose((tables.output - before) / rate, -module.output.grad, atol=1e-4)
    assert module.input.grad.abs().sum() > 0.1


@pytest.mark.parametrize("corrected", [False, True])
def test_cbow_gives_each_context_word_the_gradient_or_its_multiple(corrected):
    _, tables, form = small("full", cbow=True, corrected=corrected)
    tables = fine(tables)
    v = torch.from_numpy(tables.input.copy()).requires_grad_()
    context, word, rate = [2, 5, 5, 8], 3, 1e-6
    mean = v[context].mean(0)
    (-(torch.from_numpy(tables.output) @ mean).log_softmax(0)[word]).backward()
    before = tables.input.copy()
    reference.bag_of_words(word, context, reference.Stream(1, tables, form), tables, rate, form)
    scale = 1 if corrected else len(context)
    np.testing.assert_allclose((tables.input - before) / rate, -scale * v.grad, atol=1e-5)


@pytest.mark.parametrize("loss", MODULES)
def test_a_batch_adds_up_the_gradients(loss):
    _, tables, form = small(loss, dtype=np.float64)
    batched = Batched(tables, form, "cpu")
    batched.shift = batched.shift.double()
    counts = np.sort(np.random.default_rng(10).integers(5, 60, 12))[::-1]
    module = MODULES[loss](counts).double()
    with torch.no_grad():
        module.input.copy_(batched.input)
        module.output.copy_(batched.output)
    centre = torch.tensor([3, 7, 3])
    context = torch.tensor([[1, 2], [3, 3], [7, 0]])
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    noise = torch.tensor([[1, 9, 4, 2], [7, 5, 5, 1], [0, 11, 6, 8]])
    x = batched.input[context] * valid[:, :, None]
    if loss == "full":
        total, error = batched._full(x, valid, centre, 0.01)
    else:
        targets = batched._targets(centre, torch.Generator())
        if loss in ("negative", "nce"):
            rows = torch.cat([centre[:, None], noise], 1)
            kept = rows != centre[:, None] if loss == "negative" else targets.valid
            kept[:, 0] = True
            targets = Targets(rows, torch.tensor([[1.0, 0, 0, 0, 0]] * 3).double(), kept)
        total, error = batched._logistic(x, valid, targets, 0.01)
    pairs = [(b, m) for b in range(3) for m in range(2) if valid[b, m]]
    extra = (noise[[b for b, _ in pairs]],) if loss in ("negative", "nce") else ()
    inputs = torch.tensor([context[b, m] for b, m in pairs])
    losses = module(inputs, centre[[b for b, _ in pairs]], *extra)
    losses.sum().backward()
    assert float(total) == pytest.approx(float(losses.detach().sum()), rel=1e-6)
    added = (batched.output - module.output.detach()) / 0.01
    torch.testing.assert_close(added, -module.output.grad, atol=1e-6, rtol=1e-5)
    batched._add(batched.input, context[valid], error[valid], 0.01)
    added = (batched.input - module.input.detach()) / 0.01
    torch.testing.assert_close(added, -module.input.grad, atol=1e-6, rtol=1e-5)


def test_many_updates_of_one_row_are_capped():
    _, tables, form = small()
    batched = Batched(tables, form, "cpu")
    table = torch.zeros(3, 2)
    batched._add(table, torch.tensor([1] * 64 + [2] * 3), torch.ones(67, 2), 0.5)
    assert table.tolist() == [[0, 0], [16, 16], [1.5, 1.5]]


def test_windows_of_a_batch_stay_in_their_sentence():
    _, tables, form = small()
    batched = Batched(tables, form, "cpu")
    tokens = torch.tensor([4, 5, 6, 7, 8])
    sentence = torch.tensor([0, 0, 1, 1, 1])
    windows = batched._windows(tokens, sentence, slice(0, 5), torch.Generator().manual_seed(0))
    for place, (row, valid) in enumerate(zip(windows.context, windows.valid, strict=True)):
        near = set(row[valid].tolist())
        assert near <= ({4, 5} if place < 2 else {6, 7, 8}) - {int(tokens[place])}


@pytest.mark.parametrize("device", [None, "cpu"], ids=["compiled", "batched"])
def test_hierarchical_softmax_answers_analogies(device):
    if device is None:
        pytest.importorskip("numba")
    corpus = factor_corpus(6000, 10)
    model = Word2Vec(32, min_count=1, epochs=3, loss="hierarchical", seed=10)
    model.fit(corpus, training=Training(device=device))
    asked = {"factors": factor_questions(200, 10)}
    assert analogies(model, asked, top=None, fold_case=False).accuracy["total"] > 50


def test_quality_is_gensims():
    """The same corpus and settings, three seeds: accuracy within the spread of seeds."""
    peer = pytest.importorskip("gensim.models")
    pytest.importorskip("numba")
    asked = {"factors": factor_questions(300, 10)}
    found = {"ours": [], "peer": []}
    for seed in (10, 11, 12):
        corpus = factor_corpus(6000, seed)
        ours = Word2Vec(32, min_count=1, epochs=3, loss="hierarchical", seed=seed)
        with scratch() as folder:
            ours.begin(corpus, folder).run(1)
        theirs = peer.Word2Vec(
            corpus, vector_size=32, window=5, hs=1, negative=0, sg=1, sample=1e-3, min_count=1,
            epochs=3, workers=1, seed=seed,
        ).wv  # fmt: skip
        other = Word2Vec(32)
        other.vocabulary = Vocabulary(theirs.index_to_key, np.arange(len(theirs), 0, -1))
        other.vectors = theirs.vectors
        for name, model in {"ours": ours, "peer": other}.items():
            answers = analogies(model, asked, top=None, fold_case=False)
            found[name].append(answers.accuracy["total"])
    assert abs(np.mean(found["ours"]) - np.mean(found["peer"])) < 8


def test_vectors_begin_as_long_as_is_asked(tmp_path):
    corpus = factor_corpus(50, 10)
    made = Word2Vec(8, min_count=1)
    for start, training in ((1.0, None), (0.5, Training(start=0.5))):
        made.begin(corpus, tmp_path, training=training)
        largest = np.abs(made.vectors).max() * 8
        assert 0.9 * start < largest <= start


def test_one_thread_repeats_and_a_seed_matters():
    corpus = factor_corpus(300, 10)
    a, b, c = (Word2Vec(8, min_count=1, epochs=2, seed=s).fit(corpus) for s in (1, 1, 2))
    assert np.array_equal(a.vectors, b.vectors)
    assert not np.array_equal(a.vectors, c.vectors)


def test_two_threads_learn():
    pytest.importorskip("numba")
    corpus = factor_corpus(6000, 10)
    model = Word2Vec(32, min_count=1, epochs=3, loss="hierarchical", threads=2).fit(corpus)
    asked = {"factors": factor_questions(200, 10)}
    assert analogies(model, asked, top=None, fold_case=False).accuracy["total"] > 50
