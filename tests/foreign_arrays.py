"""Rows as other libraries hold them: those that are read, and those that are refused."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Exact in every dtype here, those of 4 bits included.
ROWS = np.array([[1.0, 2.0, -1.5, 0.5], [0.0, 3.0, 1.0, 1.0]], np.float32)


def there(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def of(module: str) -> Any:
    return importlib.import_module(module)


class Bare:
    """What can do no more than hand over its memory."""

    def __init__(self, array: Any, device: tuple[int, int] | None = None) -> None:
        self.array = array
        self.device = device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.device or self.array.__dlpack_device__()


@dataclass(frozen=True)
class Kind:
    """How rows become an object, of which libraries, and what comes of it.

    ``back`` is the class that results have, ``own`` the dtype that a transform gives, where that is
    none of numpy's; ``row`` whether the object holds the first row alone.
    """

    make: Callable[[], Any]
    needs: tuple[str, ...] = ()
    back: str = "numpy"
    own: str = "float32"
    chain: str = "float32"
    row: bool = False

    @property
    def rows(self) -> Any:
        return ROWS[0] if self.row else ROWS


def _memmap(path: Path = Path()) -> Any:
    import tempfile

    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, np.float32, "w+", shape=ROWS.shape)
    array[:] = ROWS
    return array


def _torch(dtype: str) -> Callable[[], Any]:
    return lambda: of("torch").tensor(ROWS).to(getattr(of("torch"), dtype))


def _jax(dtype: str) -> Callable[[], Any]:
    return lambda: of("jax.numpy").asarray(ROWS, getattr(of("jax.numpy"), dtype))


def _small(dtype: str) -> Callable[[], Any]:
    return lambda: ROWS.astype(getattr(of("ml_dtypes"), dtype))


def _columns() -> dict[str, Any]:
    return {str(i): ROWS[:, i] for i in range(4)}


def _lists() -> Any:
    arrow = of("pyarrow")
    return arrow.array(ROWS.tolist(), type=arrow.list_(arrow.float32()))


READ: dict[str, Kind] = {
    "numpy float16": Kind(lambda: ROWS.astype(np.float16), own="float16"),
    "numpy float64": Kind(lambda: ROWS.astype(np.float64), own="float64", chain="float64"),
    "numpy big-endian": Kind(lambda: ROWS.astype(">f4")),
    "numpy big-endian float16": Kind(lambda: ROWS.astype(">f2"), own="float16"),
    "numpy memory-mapped": Kind(_memmap),
    "numpy read-only strides": Kind(lambda: np.broadcast_to(ROWS[:, None], (2, 1, 4))[:, 0]),
    "a list of rows": Kind(lambda: [ROWS[0], ROWS[1].astype(np.float16)]),
    **{
        f"ml_dtypes {dtype}": Kind(_small(dtype), ("ml_dtypes",), own=dtype)
        for dtype in ("bfloat16", "float8_e5m2", "float8_e4m3")
    },
    # Without -inf, so that a row that has lost tokens is float32.
    **{
        f"ml_dtypes {dtype}": Kind(_small(dtype), ("ml_dtypes",))
        for dtype in ("float8_e4m3fn", "float8_e4m3fnuz", "float4_e2m1fn")
    },
    **{
        f"torch {dtype}": Kind(
            _torch(dtype),
            ("torch",),
            "torch",
            own=dtype,
            chain="float64" if dtype == "float64" else "float32",
        )
        for dtype in ("bfloat16", "float16", "float32", "float64", "float8_e5m2")
    },
    "torch float8_e4m3fn": Kind(_torch("float8_e4m3fn"), ("torch",), "torch"),
    "torch with a gradient": Kind(
        lambda: of("torch").tensor(ROWS, requires_grad=True), ("torch",), "torch"
    ),
    "torch, a parameter": Kind(
        lambda: of("torch").nn.Parameter(of("torch").tensor(ROWS)), ("torch",), "torch"
    ),
    "torch, transposed": Kind(
        lambda: of("torch").tensor(np.ascontiguousarray(ROWS.T)).T, ("torch",), "torch"
    ),
    "torch bfloat16, every second": Kind(
        lambda: of("torch").tensor(np.repeat(ROWS, 2, 1)).bfloat16()[:, ::2],
        ("torch",),
        "torch",
        own="bfloat16",
    ),
    "torch, negated when read": Kind(
        lambda: of("torch")._neg_view(of("torch").tensor(-ROWS)), ("torch",), "torch"
    ),
    "torch, a list of rows": Kind(lambda: list(of("torch").tensor(ROWS).bfloat16()), ("torch",)),
    **{
        f"jax {dtype}": Kind(_jax(dtype), ("jax",), "jax", own=dtype)
        for dtype in ("bfloat16", "float16", "float32", "float8_e5m2")
    },
    "jax, a list of rows": Kind(lambda: list(of("jax.numpy").asarray(ROWS)), ("jax",)),
    "DLPack": Kind(lambda: Bare(ROWS)),
    "DLPack of bfloat16": Kind(lambda: Bare(of("torch").tensor(ROWS).bfloat16()), ("torch",)),
    "array API": Kind(lambda: of("array_api_strict").asarray(ROWS), ("array_api_strict",)),
    "array API float64": Kind(
        lambda: of("array_api_strict").asarray(ROWS.astype(np.float64)),
        ("array_api_strict",),
        own="float64",
        chain="float64",
    ),
    "pandas": Kind(lambda: of("pandas").DataFrame(ROWS), ("pandas",)),
    "pandas nullable": Kind(lambda: of("pandas").DataFrame(ROWS).astype("Float32"), ("pandas",)),
    "pandas nullable, a column": Kind(
        lambda: of("pandas").Series(ROWS[0]).astype("Float32"), ("pandas",), row=True
    ),
    "pandas nullable, an array": Kind(
        lambda: of("pandas").Series(ROWS[0]).astype("Float32").array, ("pandas",), row=True
    ),
    "pandas of Arrow": Kind(
        lambda: of("pandas").DataFrame(ROWS).astype("float[pyarrow]"), ("pandas", "pyarrow")
    ),
    "pandas of Arrow, 16 bits": Kind(
        lambda: of("pandas").DataFrame(ROWS).astype("halffloat[pyarrow]"),
        ("pandas", "pyarrow"),
        own="float16",
    ),
    "xarray": Kind(lambda: of("xarray").DataArray(ROWS), ("xarray",)),
    "xarray of bfloat16": Kind(
        lambda: of("xarray").DataArray(ROWS.astype(of("ml_dtypes").bfloat16)),
        ("xarray", "ml_dtypes"),
        own="bfloat16",
    ),
    "polars": Kind(lambda: of("polars").DataFrame(ROWS), ("polars",)),
    "polars, a column": Kind(lambda: of("polars").Series(ROWS[0]), ("polars",), row=True),
    "polars, arrays": Kind(
        lambda: of("polars").Series(
            ROWS.tolist(), dtype=of("polars").Array(of("polars").Float32, 4)
        ),
        ("polars",),
    ),
    "polars, lists": Kind(
        lambda: of("polars").Series(ROWS.tolist(), dtype=of("polars").List(of("polars").Float32)),
        ("polars",),
    ),
    "pyarrow": Kind(lambda: of("pyarrow").array(ROWS[0]), ("pyarrow",), row=True),
    "pyarrow, 16 bits": Kind(
        lambda: of("pyarrow").array(ROWS[0].astype(np.float16)),
        ("pyarrow",),
        own="float16",
        row=True,
    ),
    "pyarrow, chunks": Kind(
        lambda: of("pyarrow").chunked_array([ROWS[0][:2], ROWS[0][2:]]), ("pyarrow",), row=True
    ),
    "pyarrow, lists of one size": Kind(
        lambda: of("pyarrow").FixedSizeListArray.from_arrays(of("pyarrow").array(ROWS.ravel()), 4),
        ("pyarrow",),
    ),
    "pyarrow, lists": Kind(_lists, ("pyarrow",)),
    "pyarrow, chunks of lists": Kind(
        lambda: of("pyarrow").chunked_array([_lists()[:1], _lists()[1:]]), ("pyarrow",)
    ),
    "pyarrow, a table": Kind(lambda: of("pyarrow").table(_columns()), ("pyarrow",)),
    "pyarrow, an array of tensors": Kind(
        lambda: of("pyarrow").FixedShapeTensorArray.from_numpy_ndarray(ROWS), ("pyarrow",)
    ),
    "pyarrow, a list": Kind(lambda: _lists()[0], ("pyarrow",), row=True),
    "pyarrow, a tensor": Kind(lambda: of("pyarrow").Tensor.from_numpy(ROWS), ("pyarrow",)),
    "dask": Kind(lambda: of("dask.array").from_array(ROWS), ("dask", "dask.array")),
    "xarray of dask": Kind(
        lambda: of("xarray").DataArray(of("dask.array").from_array(ROWS)),
        ("xarray", "dask", "dask.array"),
    ),
}


def _masked_dask() -> Any:
    return of("dask.array").ma.masked_array(of("dask.array").from_array(ROWS), mask=ROWS > 2)


def _missing(kind: str) -> Any:
    return of("pandas").DataFrame(ROWS).astype(kind).mask(of("pandas").DataFrame(ROWS) == 3)


REFUSED: dict[str, tuple[Callable[[], Any], tuple[str, ...], str]] = {
    "a mask": (lambda: np.ma.masked_array(ROWS), (), "Its mask would be lost"),
    "a matrix": (lambda: np.asmatrix(ROWS), (), "an array and no matrix"),
    "objects": (lambda: ROWS.astype(object), (), r"got object. Write np.stack\(x\) of rows"),
    "integers": (lambda: ROWS.astype(int), (), "got int64. Write floats"),
    "nothing": (lambda: None, (), "must be an array of shape .*, got None[.]"),
    "a map": (lambda: {"a": 1.0}, (), "must be an array of shape .*, got {'a': 1.0}[.]"),
    "fields": (lambda: np.zeros(3, [("a", "f4")]), (), "got void32[.]$"),
    "complex": (lambda: ROWS.astype(complex), (), "got complex128"),
    "wider floats": (lambda: ROWS.astype(np.longdouble), (), "got float128|got longdouble"),
    "bytes of bfloat16": (lambda: ROWS.astype("f2").view("V2"), (), r"view\(ml_dtypes.bfloat16\)"),
    "small integers": (lambda: ROWS.astype(of("ml_dtypes").int4), ("ml_dtypes",), "got int4[.]"),
    "on a GPU": (lambda: Bare(ROWS, (2, 0)), (), "logits are on cuda:0: call .cpu()"),
    "on a GPU, in a list": (
        lambda: [Bare(ROWS, (2, 1))],
        (),
        "got a list. logits are on cuda:1: call .cpu()",
    ),
    "on some device": (lambda: Bare(ROWS, (77, 0)), (), "logits are on device 77:0: call .cpu()"),
    "torch without numbers": (
        lambda: of("torch").zeros(3, device="meta"),
        ("torch",),
        r"got a torch.Tensor of shape \(3,\). logits are on meta: call .cpu()",
    ),
    "torch sparse": (lambda: of("torch").tensor(ROWS).to_sparse(), ("torch",), "to_dense"),
    "torch nested": (
        lambda: of("torch").nested.nested_tensor(
            [of("torch").ones(2), of("torch").ones(1)], layout=of("torch").jagged
        ),
        ("torch",),
        "logits are nested, of unequal lengths: call .unbind()",
    ),
    "torch integers": (lambda: of("torch").tensor([1, 2]), ("torch",), "got int64. Write floats"),
    "jax keys": (lambda: of("jax").random.key(0), ("jax",), "got a jax.PRNGKeyArray"),
    "array API, elsewhere": (
        lambda: of("array_api_strict").asarray(
            ROWS, device=of("array_api_strict").Device("device1")
        ),
        ("array_api_strict",),
        "got an array_api_strict.Array of shape .*device1",
    ),
    "pandas with a gap": (lambda: _missing("Float32"), ("pandas",), r"got NaN in row \(1,\)"),
    "pandas of Arrow with a gap": (
        lambda: _missing("float[pyarrow]"),
        ("pandas", "pyarrow"),
        r"got NaN in row \(1,\)",
    ),
    "pandas of arrays": (lambda: of("pandas").Series(list(ROWS)), ("pandas",), r"np.stack\(x\)"),
    "pandas with texts": (
        lambda: of("pandas").DataFrame({"a": ["x"], "b": [1.0]}),
        ("pandas",),
        "got object",
    ),
    "polars, a query": (
        lambda: of("polars").DataFrame(ROWS).lazy(),
        ("polars",),
        "call .collect()",
    ),
    "polars with a gap": (lambda: of("polars").Series([1.0, None]), ("polars",), "got NaN"),
    "polars, uneven lists": (
        lambda: of("polars").Series([[1.0, 2.0], [3.0]]),
        ("polars",),
        "must have the same shape",
    ),
    "pyarrow with a gap": (lambda: of("pyarrow").array([1.0, None]), ("pyarrow",), "got NaN"),
    "pyarrow, a missing row": (
        lambda: of("pyarrow").array([[1.0, 2.0], None]),
        ("pyarrow",),
        "must be an array of shape",
    ),
    "xarray, several": (
        lambda: of("xarray").Dataset({"a": (("i", "j"), ROWS)}),
        ("xarray",),
        r"dataset\[variable\]",
    ),
    "dask with a mask": (_masked_dask, ("dask", "dask.array"), "Its mask would be lost"),
}
