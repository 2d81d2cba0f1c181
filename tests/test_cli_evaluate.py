"""``itnas evaluate``: a genotype from the command line or from a search's record, and what it says to mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from itnas.cli import dispatch
from itnas.errors import UserError
from itnas.protocols import PROTOCOLS, get_protocol
from itnas.training import Training
from tests.spaces.published import DARTS_V2

TINY = ["--", "--cells", "3", "--channels", "4", "--epochs", "1", "--batch-size", "400"]


def test_a_published_genotype_is_trained_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Training, "measure", lambda self: {"valid_accuracy": 1.5, "test_accuracy": 2.5, "parameters": 0.01}
    )
    arguments = ["evaluate", "--genotype", DARTS_V2, "--seeds", "7", "--results", str(tmp_path), *TINY]
    dispatch(arguments)
    said = capsys.readouterr().out
    assert "digits/test, seed 7: 2.50 %" in said
    assert len(list((tmp_path / "evaluation" / "evaluations").glob("*/evaluation.json"))) == 1


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="either the folder of a finished search or a --genotype"):
        dispatch(["evaluate"])
    with pytest.raises(UserError, match="unknown protocol 'long'; choose one of paper-20x36"):
        dispatch(["evaluate", "--genotype", DARTS_V2, "--protocol", "long"])
    with pytest.raises(UserError, match=r"holds no run.json"):
        dispatch(["evaluate", str(tmp_path)])
    with pytest.raises(UserError, match="malformed genotype"):
        dispatch(["evaluate", "--genotype", "Genotype(", "--results", str(tmp_path), *TINY])


def test_presets_name_their_protocol() -> None:
    assert get_protocol("paper") == PROTOCOLS["paper-20x36"]
    small = PROTOCOLS["paper-8x16"][0]
    assert (small.cells, small.channels, small.epochs) == (8, 16, 600)
