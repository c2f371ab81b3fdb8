"""Files of torch: tensors to the bit, and no code of a file is ever run."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.models import read_logits

ROWS = np.random.default_rng(7).normal(size=(4, 6)).astype(np.float32)


REFUSED = "It is damaged, or holds more than tensors, which is never run."


class Bomb:
    """What would leave a folder behind if it were unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestWithTorch:
    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch", minversion="2.10")

    def test_one_tensor(self, torch: Any) -> None:
        for dtype in (torch.float16, torch.float32, torch.float64):
            tensor = torch.from_numpy(ROWS).to(dtype)
            torch.save(tensor, "x.pt")
            rows = read_logits("x.pt")
            assert not rows.flags.writeable
            assert rows.dtype == tensor.numpy().dtype
            assert rows.tobytes() == tensor.numpy().tobytes()

    def test_floats_that_numpy_lacks_are_widened(self, torch: Any) -> None:
        for dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
            tensor = torch.from_numpy(ROWS).to(dtype)
            torch.save(tensor, "x.pt")
            rows = read_logits("x.pt")
            assert rows.dtype == np.float32
            assert rows.tobytes() == tensor.to(torch.float32).numpy().tobytes()

    def test_layouts_and_older_files(self, torch: Any) -> None:
        tensor = torch.from_numpy(ROWS)
        torch.save(torch.nn.Parameter(tensor), "parameter.pth")
        torch.save(tensor.T.contiguous().T, "columns.bin")
        torch.save(tensor, "older.pt", _use_new_zipfile_serialization=False)
        torch.save(tensor, "of_mine")
        for name in ("parameter.pth", "columns.bin", "older.pt", "of_mine"):
            np.testing.assert_array_equal(read_logits(name), ROWS)
        os.rename("older.pt", "older")
        np.testing.assert_array_equal(read_logits("older"), ROWS)

    def test_named_tensors(self, torch: Any) -> None:
        torch.save({"cold": torch.from_numpy(ROWS), "ids": torch.arange(3)}, "x.pt")
        np.testing.assert_array_equal(read_logits("x.pt", name="cold"), ROWS)
        for name, message in {
            None: "name must be one of 'cold', 'ids', got None.",
            "ids": "logits must be float16, bfloat16, float32 or float64, got int64.",
        }.items():
            with pytest.raises(ParameterError) as error:
                read_logits("x.pt", name=name)
            assert str(error.value).startswith(message)
        torch.save(torch.from_numpy(ROWS), "one.pt")
        with pytest.raises(ParameterError, match=r"^name must be absent for a file of one array"):
            read_logits("one.pt", name="cold")

    @pytest.mark.parametrize("legacy", [False, True])
    def test_code_is_never_run(self, torch: Any, legacy: bool) -> None:
        zipped = {"_use_new_zipfile_serialization": not legacy}
        for content in (Bomb(), {"x": Bomb()}, [torch.from_numpy(ROWS), Bomb()]):
            torch.save(content, "bomb.pt", **zipped)
            assert self.refused("bomb.pt") == REFUSED
        with open("bomb.pt", "wb") as file:
            pickle.dump(Bomb(), file)
        assert self.refused("bomb.pt") == REFUSED
        os.rename("bomb.pt", "bomb.pkl")
        assert self.refused("bomb.pkl") == REFUSED
        assert not os.path.exists("exploded")
        with open("bomb.pkl", "rb") as file:
            pickle.load(file)
        assert os.path.exists("exploded")  # so it was a bomb

    def test_what_is_no_tensor(self, torch: Any) -> None:
        for content, message in [
            ([torch.from_numpy(ROWS)], "It holds a list, and not one tensor or named ones."),
            ({"x": 3}, "It holds a int, and not one tensor or named ones."),
            ({3: torch.ones(2)}, "It holds a Tensor, and not one tensor or named ones."),
            ({}, "It holds no array of floats."),
            (torch.from_numpy(ROWS).to_sparse(), "Can't convert Sparse layout tensor to numpy."),
            (torch.ones(2, device="meta"), ""),
        ]:
            torch.save(content, "x.pt")
            assert self.refused("x.pt", len(message)) == message

    def test_damage(self, torch: Any) -> None:
        torch.save(torch.from_numpy(ROWS), "x.pt")
        content = Path("x.pt").read_bytes()
        rng = np.random.default_rng(8)
        for place in rng.integers(0, len(content), 60).tolist():
            cut = place % 2
            damaged = content[:place] + (b"" if cut else b"\xff\x80" + content[place + 2 :])
            Path("x.pt").write_bytes(damaged)
            try:
                rows = read_logits("x.pt")
            except ParameterError:
                continue
            assert rows.dtype.kind == "f"

    def refused(self, path: str, length: int | None = None) -> str:
        with pytest.raises(ParameterError) as error:
            read_logits(path)
        start, _, reason = str(error.value).partition("'. ")
        assert start == f"path must be a .pt file of logits, got '{path}"
        return reason[:length]


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    Path("x.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ImportError) as error:
        read_logits("x.pt")
    assert str(error.value) == "torch is not installed: pip install 'logitlab[transformers]'"
    assert not Path("exploded").exists()


@pytest.mark.parametrize("version", ["2.9.1+cpu", "2.5.0", "1.13.1"])
def test_a_torch_that_is_not_safe(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version))
    Path("x.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ImportError) as error:
        read_logits("x.pt")
    assert str(error.value) == (
        f"torch {version} does not open files safely: pip install 'torch>=2.10'"
    )
