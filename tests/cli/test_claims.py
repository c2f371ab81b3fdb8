"""``logitlab claims``, in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from logitlab import claims
from logitlab.cli import main


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["claims", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("columns", ["20", "300"])
def test_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = out(capsys, "--parameter", "top_a").splitlines()
    assert lines[0].split() == ["the", "page", "states", "measured", "verdict"]
    assert lines[2] == "top_a (section Top A)"
    assert max(map(len, lines[:-1])) <= {"20": 72, "300": 120}[columns]
    assert lines[-1] == (
        "5 claims: 1 holds, 3 are vague, 1 is wrong as written; no experiment fails."
    )
    words = " ".join(" ".join(lines).split())
    assert "wrong: a lower" in words


def test_the_table_beyond_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out(capsys, "--beyond", "--parameter", "min_p").splitlines()
    assert lines[0].split() == ["it", "is", "stated", "measured", "verdict"]
    assert "min_p (Nguyen et al., arXiv:2407.01082)" in lines
    assert "min_p (Schaeffer et al., arXiv:2506.13681)" in lines
    assert lines[-1] == "2 claims: 2 are vague; no experiment fails."
    assert out(capsys, "--parameter", "eta_cutoff") == out(
        capsys, "--beyond", "--parameter", "eta_cutoff"
    )


def test_json_is_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(out(capsys, "--parameter", "top_k", "--json"))
    findings = claims.check("top_k")
    assert report["page"] == claims.PAGE
    assert [one["name"] for one in report["claims"]] == [one.claim.name for one in findings]
    assert [one["measured"] for one in report["claims"]] == [dict(one.measured) for one in findings]
    assert report["claims"][0]["holds"] is True
    assert report["claims"][0]["section"] == "Top K"
    report = json.loads(out(capsys, "--parameter", "tfs", "--json"))
    assert report.keys() == {"claims"}
    assert report["claims"][0]["url"] == "https://www.trentonbricken.com/Tail-Free-Sampling/"


def test_the_status_is_1_if_one_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twice(claims.Lab):
        def logits(self, rows: Any, request: Any, context: Any = None) -> Any:
            return super().logits(rows, request, context) * 2

    monkeypatch.setattr(claims, "Lab", Twice)
    with pytest.raises(SystemExit) as left:
        main(["claims", "--parameter", "min_p"])
    assert left.value.code == 1
    output = capsys.readouterr().out
    assert "FAILS" in output
    assert "FAIL.\n" in output


def test_what_is_not_run_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    output = out(capsys, "--parameter", "tools")
    assert "llguidance is not installed:" in output
    assert "'logitlab[structured]'" in output
    assert "1 claim: 1 was not run; no experiment fails." in output


def test_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["claims", "--parameter", "top_q"]) == 2
    assert "error: --parameter must be one of 'general', 'temp" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["claims", "--beyond", "--parameter", "top_p"]) == 2
    assert "error: --parameter must be one of 'typical_p', " in capsys.readouterr().err
    assert main(["claims", "--write", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--write must be an empty directory, or one with an earlier report" in captured.err
    assert "'mine.txt'" in captured.err
    assert main(["claims", "--write", str(tmp_path / "mine.txt")]) == 2
    assert "--write must be a directory that can be written" in capsys.readouterr().err


def test_a_report_is_written_and_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = tmp_path / "new" / "report"
    output = out(capsys, "--parameter", "min_p", "--write", str(where))
    assert f"{where / 'report.md'} and 1 figure" in output
    assert sorted(path.name for path in where.iterdir()) == ["min_p.png", "report.md"]
    text = (where / "report.md").read_text("utf-8")
    assert "## min_p" in text
    assert "![Tokens that min_p 0.1 leaves, by row](min_p.png)" in text
    first = (where / "min_p.png").read_bytes()
    out(capsys, "--parameter", "min_p", "--write", str(where))
    assert (where / "min_p.png").read_bytes() == first
    assert (where / "report.md").read_text("utf-8") == text
    out(capsys, "--parameter", "top_n_sigma", "--write", str(tmp_path / "beyond"))
    text = (tmp_path / "beyond" / "report.md").read_text("utf-8")
    assert "What papers and authors state" in text
    assert "[Tang et al., arXiv:2411.07641](https://arxiv.org/abs/2411.07641)." in text
    assert "| it is stated | measured | verdict |" in text
    assert (tmp_path / "beyond" / "top_n_sigma.png").exists()
