"""Options that no arm takes, through the lab, and what the configs refuse."""

import pytest

from quire.lab import try_run


def test_warm_up_and_holdout_run_on_cifar10(tmp_path, data_root):
    pytest.importorskip("pyarrow", reason="needs the extra `vision`")
    overrides = {"warm_up": True, "holdout": 64, "decay_norm": False, "version": "2"}
    metrics = try_run(
        "resnet", "cifar10", arm="resnet20", preset="smoke", directory=tmp_path, overrides=overrides
    )
    assert 0 <= metrics["test_error"] <= 100


def test_missing_imagenet_says_what_to_put_where(tmp_path):
    with pytest.raises(Exception, match=r"no images in .*imagenet/train/<class>/") as caught:
        try_run(
            "resnet",
            "imagenet",
            arm="resnet18",
            preset="smoke",
            directory=tmp_path,
            overrides={"source": "folder"},
            data=tmp_path,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("experiment", "overrides", "message"),
    [
        ("digits", {"depth": 21}, r"depth must be 6n \+ 2; got 21, the nearest is 20 or 26"),
        ("digits", {"shortcut": "D"}, "shortcut"),
        ("digits", {"learning_rate": -1.0}, "learning_rate"),
        ("digits", {"dept": 20}, "did you mean 'depth'"),
        ("imagenet", {"depth": 19}, "depth"),
        ("imagenet", {"crop": 50}, "crop must be at most sides and test_side"),
    ],
)
def test_bad_fields_are_one_clear_line(experiment, overrides, message, tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra `vision`")
    with pytest.raises(Exception, match=message) as caught:
        try_run("resnet", experiment, preset="smoke", directory=tmp_path, overrides=overrides)
    assert "\n" not in str(caught.value)
