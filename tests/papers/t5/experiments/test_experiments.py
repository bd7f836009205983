import copy

import pytest
import torch

from quire.cli import main
from quire.lab.papers import find_paper
from quire.lab.testing import noted, run_in
from quire.papers.t5.experiments import ablate as ablating
from quire.papers.t5.experiments import finetune as finetuning
from quire.papers.t5.experiments.ablate import Ablate, ablate, flat, in_proportion
from quire.papers.t5.experiments.corpus import Corpus, corpus
from quire.papers.t5.experiments.finetune import Finetune, prepare
from quire.papers.t5.experiments.learner import (
    Best,
    Net,
    Noise,
    Rows,
    Schedule,
    Tuning,
    count_products,
    learn_task,
    make_model,
    pretrain_model,
    write,
)
from quire.papers.t5.experiments.multitask import Mix, Multitask, select, together
from quire.papers.t5.experiments.pretrain import Pretrain, draw_positions, pretrain
from quire.papers.t5.experiments.rows import COLUMNS, ROWS, SPREAD, TASKS
from quire.papers.t5.experiments.sources import (
    NONSENSE,
    Labelled,
    Text,
    read_tasks,
    read_text,
)
from quire.papers.t5.model import T5
from quire.papers.t5.objectives import Ids, Pair
from quire.papers.t5.published import TASKS as PUBLISHED

TINY = Net(dim=16, hidden=32, heads=2, layers=2, head_dim=8, dropout=0.0)
TUNING = Tuning(steps=3, batch_size=4, inputs=32, targets=4, checks=1, learning_rate=0.01)


def test_objectives_are_those_of_the_paper_and_cut_as_there():
    for name in Noise.model_fields["name"].annotation.__args__:
        noise = Noise(name=name)
        objective = noise.objective(Ids(), 512)
        raw = torch.randint(3, 32_000, (2, noise.raw(512)))
        pair = objective(raw, generator=torch.Generator().manual_seed(0))
        assert pair.inputs.shape[1] == 512
        assert tuple(each.shape[1] for each in pair) == noise.lengths(512)
    assert Noise(name="replace_spans").lengths(512)[1] == 192
    assert Noise(name="drop").lengths(512)[1] == 104
    assert Noise().lengths(512) == (512, 114)


def test_products_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    # Attention's own products, two a layer and head, are not counted there.
    scores = {
        "encoder-decoder": 20 * 20 + 7 * 7 // 2 + 20 * 7,
        "shared": 20 * 20 + 7 * 7 // 2 + 20 * 7,
        "prefix": 27 * 27,
    }
    for name, seen in scores.items():
        net = TINY.model_copy(update={"architecture": name})
        model = T5(net.size, name, vocabulary=50).eval()
        inputs, targets = torch.randint(3, 50, (1, 20)), torch.randint(3, 50, (1, 7))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(inputs, targets)
        found = counter.get_total_flops() // 2 + TINY.layers * 2 * 16 * seen
        # One stack leaves out the last token.
        last = TINY.layers * (4 * 16 * 16 + 2 * 16 * 32) if name == "prefix" else 0
        assert found + last == count_products(net, 20, 7, 50)


def test_a_pretraining_learns_and_follows_from_its_seed(tmp_path):
    def train(name):
        run = run_in(tmp_path / name)
        source = read_text(Text(documents=30), run)
        torch.manual_seed(0)
        model = make_model(TINY, source.coder, run)
        schedule = Schedule(steps=12, batch_size=8, length=24, learning_rate=0.05, constant=12)
        return pretrain_model(model, source, Noise(), schedule, run), model

    (first, model), (again, same) = train("one"), train("two")
    assert first == again < 5.6  # log 331 is 5.8
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True)
    )


@pytest.mark.parametrize("architecture", ["shared", "prefix"])
def test_a_pretraining_shows_what_is_written_and_where_heads_look(architecture, tmp_path):
    config = Pretrain(
        net=TINY.model_copy(update={"architecture": architecture}), text=Text(documents=20),
        schedule=Schedule(steps=2, batch_size=4, length=16, learning_rate=0.03, constant=3),
        batches=1,
    )  # fmt: skip
    run = run_in(tmp_path, config)
    pretrain(config, run)
    lines = [line.split("  ")[0] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert sum("shown:" in line for line in lines) == 3
    assert lines.count("true:") == sum(line.startswith("written:") for line in lines) == 3
    model = make_model(config.net, read_text(config.text, run).coder, run)
    figure = draw_positions(model, 5)
    assert [axes.get_title() for axes in figure.axes] == {
        "shared": ["encoder", "decoder"], "prefix": ["decoder"],
    }[architecture]  # fmt: skip
    line = figure.axes[-1].lines[1]
    bias = model.decoder.bias.square(11, 11)[1].detach()
    assert line.get_xdata().tolist()[:6] == [-5, -4, -3, -2, -1, 0]
    assert line.get_ydata()[:6] == pytest.approx(bias[10, 5:].numpy())
    assert (tmp_path / "figures" / "positions.png").stat().st_size > 0


def test_fine_tuning_ends_with_the_best_checkpoint(tmp_path):
    run = run_in(tmp_path)
    (part,) = read_tasks(Labelled(tasks=("nli",), rows=8, dev=4, test=6), run).values()
    coder = read_text(Text(documents=5), run).coder
    model = make_model(TINY, coder, run)
    found = learn_task(model, part, coder, TUNING, run, name="nli")
    rows = Rows(part.test, coder, TUNING)
    assert part.task.evaluate(write(model, rows, coder, run), part.test) == found
    best = Best(model)
    best.offer(1.0, model)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.table.weight.add_(1)
    best.offer(0.5, model)
    assert all(torch.equal(kept[name], best.weights[name]) for name in kept)


def test_methods_train_what_they_say():
    def trained(method, step=0):
        model = T5(TINY.size, vocabulary=50)
        thaw = prepare(model, method, Tuning(steps=10), adapter=3)
        if thaw:
            thaw(step)
        return {name for name, p in model.named_parameters() if p.requires_grad}

    assert trained("embeddings") == {"table.weight"}
    assert trained("gradual") < trained("gradual", 9) == trained("all")
    assert {name.split(".")[0] for name in trained("decoder")} == {"decoder"}
    with pytest.raises(ValueError, match="not in a model that is causal"):
        prepare(T5(TINY.size, "causal", vocabulary=50), "decoder", TUNING, adapter=3)
    assert all("adapter" in name or "norm" in name for name in trained("adapters"))


def test_a_decoder_that_reads_an_encoder_is_born_anew(tmp_path, monkeypatch):
    seen, run = [], run_in(tmp_path)
    base = make_model(TINY, read_text(Text(documents=5), run).coder, run).state_dict()
    monkeypatch.setattr(run, "before", lambda name: tmp_path)
    monkeypatch.setattr(
        finetuning, "load_weights_into", lambda folder, name, model: model.load_state_dict(base)
    )

    def watch(model, part, *args, **options):
        seen.append(copy.deepcopy(model.state_dict()))
        return dict.fromkeys((*part.task.metrics, "invalid"), 0.0)

    monkeypatch.setattr(finetuning, "learn_task", watch)
    asked = Labelled(tasks=("nli", "qa"), rows=2, dev=2, test=2)
    for method in ("all", "decoder"):
        finetuning.finetune(Finetune(net=TINY, labelled=asked, method=method), run)
    for number, found in enumerate(seen):
        kept = {name.split(".")[0] for name in base if torch.equal(found[name], base[name])}
        changed = {name for name in base if not torch.equal(found[name], base[name])}
        assert kept >= {"encoder", "table"}
        assert bool(changed) == (number >= 2)
        assert all(name.startswith("decoder.") for name in changed)


def test_prefixes_are_put_as_asked(tmp_path):
    run, texts = run_in(tmp_path), {}
    for prefix in ("own", "nonsense", "none", "swapped"):
        asked = Labelled(tasks=("qa",), rows=2, dev=2, test=2, prefix=prefix)
        texts[prefix] = read_tasks(asked, run)["qa"].test[0].inputs
    assert texts["own"].startswith("qa question: ")
    assert texts["nonsense"].startswith(f"{NONSENSE} question: ")
    assert texts["none"].startswith("question: ")
    assert texts["swapped"].startswith("nli question: ")


def test_training_and_test_rows_differ(tmp_path):
    for part in read_tasks(Labelled(rows=50, dev=20, test=50), run_in(tmp_path)).values():
        train, test = ({e.inputs for e in each} for each in (part.train, part.test))
        assert len(train & test) < 5


def test_mixtures_select_and_pad():
    config = Multitask(shares=(1.0, 0.5, 0.5, 0.5), without="nli")
    names = ("acceptability", "paraphrase", "nli", "qa")
    parts = read_tasks(Labelled(tasks=names, rows=8, dev=2, test=2), run_in_memory())
    found = select(parts, config)
    assert {name: len(part.train) for name, part in found.items()} == {
        "acceptability": 8, "paraphrase": 4, "qa": 4,
    }  # fmt: skip
    with pytest.raises(ValueError, match="shares are of 4 tasks, got 1"):
        select(parts, Multitask(shares=(1.0,)))
    with pytest.raises(ValueError, match="without must be one of acceptability"):
        select(parts, Multitask(without="qqa"))
    batch = together([Pair(torch.ones(3), torch.ones(1)), Pair(torch.ones(1), torch.ones(2))])
    assert batch.inputs.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert Mix("equal").rates({"a": 9, "b": 1}) == {"a": 0.5, "b": 0.5}
    assert Mix(limit=0).rates({"a": 9, "b": 1})["a"] == pytest.approx(0.9)


def run_in_memory():
    import tempfile
    from pathlib import Path

    return run_in(Path(tempfile.mkdtemp()))


def test_the_papers_numbers_stand_in_claims_with_an_arm_each():
    entry = find_paper("t5").experiments["ablate"]
    names = {name for rows in ROWS.values() for name in rows}
    assert names == set(entry.arms) - {"table"} == set(entry.arms_at("paper"))
    claims = {claim.id: claim for claim in entry.claims}
    for factor, rows in ROWS.items():
        for name, row in rows.items():
            assert entry.arms[name] == {"factor": factor, "row": name}
            check = claims[f"number-{name.replace('_', '-')}"].check
            for column, value in zip(COLUMNS, row.paper, strict=True):
                assert (value is None) == (f"{name}.{column}" not in check)
                assert value is None or f"{name}.{column} - {value})" in check
    assert len(SPREAD) == len(COLUMNS) == len(TASKS)
    assert all(task in PUBLISHED for tasks in TASKS.values() for task in tasks)


def test_a_factor_is_a_table_beside_the_papers(tmp_path):
    config = Ablate(
        factor="objective", net=TINY, tuning=TUNING, text=Text(documents=10),
        schedule=Schedule(steps=2, batch_size=4, length=16, learning_rate=0.03, constant=3),
        labelled=Labelled(tasks=("nli",), rows=6, dev=2, test=4),
    )  # fmt: skip
    run = run_in(tmp_path, config)
    assert ablate(config, run).keys() == ROWS["objective"].keys()
    table = (tmp_path / "table.md").read_text().splitlines()
    assert table[0].startswith("| objective | nli | mean | paper glue | paper cnndm |")
    assert len(table) == 2 + len(ROWS["objective"])
    assert "| 73.17 | 18.59 | 67.61 |" in next(row for row in table if "deshuffling" in row)
    assert [line for line in noted(run) if line.startswith("|")] == table
    with pytest.raises(ValueError, match="row must be one of prefix_lm"):
        ablate(config.model_copy(update={"row": "bart"}), run)


@pytest.mark.parametrize("row", ["ensemble_4", "leave_one_out", "then_apart"])
def test_rows_of_other_kinds_run(row, tmp_path):
    (factor,) = [f for f, rows in ROWS.items() if row in rows]
    config = Ablate(
        factor=factor, row=row, net=TINY, tuning=TUNING, text=Text(documents=10),
        schedule=Schedule(steps=2, batch_size=4, length=16, learning_rate=0.03, constant=3),
        labelled=Labelled(tasks=("nli", "qa"), rows=6, dev=2, test=4),
    )  # fmt: skip
    assert ablate(config, run_in(tmp_path, config)).keys() == {"nli", "qa"}


def test_rows_are_the_papers_at_its_baseline_and_in_proportion_at_another():
    published = Ablate(published=True)
    for rows in ROWS.values():
        assert all(in_proportion(row, published) == row for row in rows.values())
    small = Ablate(net=Net(dim=64, hidden=256, heads=4, layers=2, head_dim=32),
                   labelled=Labelled(rows=4096))  # fmt: skip
    sizes = {
        ("architecture", "half_layers"): {"layers": 1},
        ("architecture", "one_stack"): {"architecture": "causal"},
        ("scaling", "size_4"): {"dim": 85, "hidden": 341, "heads": 5, "layers": 5},
    }
    for (factor, row), expected in sizes.items():
        assert in_proportion(ROWS[factor][row], small).net == expected
    assert in_proportion(ROWS["tuning"]["adapters_512"], small).adapter == 43
    limits = [in_proportion(ROWS["mixing"][f"k_{k}"], small).mix["limit"] for k in (16, 19, 21)]
    assert limits == [128, 1024, 4096]


def test_mixing_has_tasks_of_uneven_sizes(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        ablating, "learn", lambda *args, **options: sizes.append(
            [len(part.train) for part in args[5].values()]) or dict.fromkeys(args[5], 0.0)
    )  # fmt: skip
    for factor in ("mixing", "multitask"):
        config = Ablate(
            factor=factor, row={"mixing": "k_16", "multitask": "apart"}[factor], net=TINY,
            text=Text(documents=10), shares=(1.0, 0.5),
            labelled=Labelled(tasks=("nli", "qa"), rows=6, dev=2, test=4),
        )  # fmt: skip
        ablate(config, run_in(tmp_path / factor, config))
    assert sizes == [[6, 3], [6, 6]]
    uneven = config.model_copy(update={"factor": "mixing", "row": "k_16", "shares": (1.0,)})
    with pytest.raises(ValueError, match="shares are of 2 tasks, got 1"):
        ablate(uneven, run_in(tmp_path / "one", config))


def test_texts_of_the_users_own_are_asked_for(tmp_path):
    config = Ablate(factor="corpus", net=TINY)
    with pytest.raises(ValueError, match="corpus compares texts of the user's own"):
        ablate(config, run_in(tmp_path, config))


def test_rows_that_are_trained_alike_have_one_key():
    tuning = ROWS["tuning"]
    assert len({str(flat((row.net, row.noise, row.schedule))) for row in tuning.values()}) == 1
    rates = ROWS["rate"]
    assert len({str(flat((row.net, row.noise, row.schedule))) for row in rates.values()}) == 4


def test_no_shards_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data: shards of C4"):
        corpus(Corpus(files=tmp_path), run_in(tmp_path / "run"))


def test_shards_become_tokens(tmp_path):
    for library in ("tokenizers", "sentencepiece"):
        pytest.importorskip(library, reason="needs the extra text")
    line = "The {0} {0} of the town came to see us on a {0} day. They stayed. All left at {0}."
    rows = [line.format(word) for word in ("old", "young", "tall", "glad")]
    shard = tmp_path / "c4-000.jsonl"
    shard.write_text("".join(f'{{"text": "{row}", "url": ""}}\n' for row in [*rows, "Menu"]))
    run = run_in(tmp_path / "run")
    found = corpus(Corpus(files=tmp_path, pieces=40, sentinels=4, learn_from=4), run)
    assert found["pages_kept"] == 80
    assert (run.directory / "kept" / "tokens" / "tokens.bin").is_file()
    assert "page: too few sentences: 1" in noted(run)


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("--labelled.tasks", "qaa", "labelled.tasks: unknown task 'qaa': did you mean 'qa'?"),
        ("--net.dim", "0", "net.dim: Input should be greater than 0 (got 0)"),
    ],
)
def test_a_wrong_setting_of_a_group_is_one_line_before_anything_runs(
    option, value, fault, tmp_path, capsys
):
    words = ["run", "t5/finetune:spans", "--preset", "smoke", "--runs", str(tmp_path)]
    assert main([*words, option, value]) == 2
    said = capsys.readouterr()
    assert f"quire: {fault}" in said.err and "pydantic" not in said.err
    assert not list(tmp_path.iterdir())
