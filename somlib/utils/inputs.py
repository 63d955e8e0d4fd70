"""The one door for data: everything a caller may pass becomes a checked tensor `(n, d)` here.

Torch tensors, NumPy arrays, polars and pandas frames, pyarrow tables and nested lists are read; nothing is changed in
place, and nothing is copied that need not be. Float64 stays float64; all else becomes float32, but for integers that
float32 cannot hold exactly, which become float64.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError
from somlib.utils.batches import is_batches

FLOAT32_EXACT = 2**24  # the largest range in which float32 holds every integer


def read_samples(
    data: Any,
    *,
    name: str = "data",
    num_features: int | None = None,
    device: torch.device | None = None,
    missing: str = "error",
    single: bool = False,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Samples as a float tensor of shape (n, d), checked.

    Args:
        data: Tensor, array, frame, table or nested list of numbers; never changed. Where there is one feature, shape
            (n,) will do.
        name: What to call it in errors.
        num_features: The `d` it must have; None takes any.
        device: Where the tensor shall be; None leaves it where it is.
        missing: `"error"` refuses NaN, `"mask"` lets it pass. Infinity is refused by both.
        single: Whether one sample of shape (d,) is welcome; it comes back as (1, d).
        names: Of the features; a frame with column names is put in their order. None takes the columns as they come.

    Returns:
        float32, or float64 where the data was (or holds integers beyond 2^24), shape (n, d).

    Raises:
        DataTypeError: `data` is not numeric.
        ShapeError: `data` is not 2-D, of the wrong width, or its columns are not those of `names`.
        DataError: `data` is empty, or holds NaN or infinity where it may not.
    """
    order = column_order(feature_names(data), names, name)
    tensor = _as_float(_as_tensor(data, name), device)
    if _is_one_feature(tensor, num_features, single):
        tensor = tensor[:, None]
    else:
        order = column_order(series_labels(data), names, name) if order is None else order
        tensor = _as_matrix(tensor, name, num_features, single)
    tensor = tensor if order is None else _reordered(tensor, order)
    require_finite(tensor, name, missing)
    return tensor


def read_targets(target: Any, n: int, *, name: str = "target") -> Tensor:
    """Targets as a float64 tensor of shape (n, o) on the CPU; integers up to 2^53 stay exact.

    Arguments and errors are those of `read_outputs`.
    """
    return read_outputs(target, n, name=name).to("cpu", torch.float64)


def read_outputs(target: Any, n: int, *, name: str = "target", device: torch.device | None = None) -> Tensor:
    """Targets as a tensor of shape (n, o), in the precision that they came with.

    Args:
        target: Tensor, array, frame, series, table or list of numbers, shape (n,) or (n, o).
        n: The number of samples it must have.
        name: What to call it in errors.
        device: Where the tensor shall be; None leaves it where it is.

    Returns:
        float32, or float64 where the targets were (or hold integers beyond 2^24), shape (n, o).

    Raises:
        DataTypeError: `target` is not numeric.
        ShapeError: `target` is not 1-D or 2-D, or of another length.
    """
    tensor = _as_float(_as_tensor(target, name), device)
    if tensor.ndim == 1:
        tensor = tensor[:, None]
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise ShapeError(f"{name} must have shape (n,) or (n, o), got {tuple(tensor.shape)}")
    if len(tensor) != n:
        raise ShapeError(f"{name} must have {n} values, one a sample, got {len(tensor)}")
    return tensor


def read_sample_weight(weight: Any, n: int, tensor: Tensor, *, some: bool = False) -> Tensor | None:
    """Sample weights as a tensor of shape (n,), dtype and device of `tensor`; None stays None.

    Args:
        weight: Numbers, or None.
        n: How many samples there are.
        tensor: The samples.
        some: Whether these are some of the samples only, which may all have the weight 0.

    Raises:
        ShapeError: Not of shape (n,).
        DataError: Negative, not finite, or all 0.
    """
    if weight is None:
        return None
    values = _as_tensor(weight, "sample_weight").detach().to(tensor.device, tensor.dtype)
    if values.shape != (n,):
        raise ShapeError(f"sample_weight must have shape ({n},), got {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise DataError("sample_weight must be finite and not negative, got " + _first_bad(values))
    if not some and not bool(values.any()):
        raise DataError("sample_weight must not be 0 for every sample")
    return values


def feature_names(data: Any) -> list[str] | None:
    """Column names of a frame or table; None for anything without.

    Labels that are all whole numbers, as pandas gives by default, are places and no names.
    """
    if type(data).__name__ == "LazyFrame":  # asking one for its columns would make it work; it is refused anyway
        return None
    names = getattr(data, "column_names", None)  # pyarrow
    return _names_in(getattr(data, "columns", None) if names is None else names)  # polars, pandas


def known_names(names: Any, d: int | None) -> list[str] | None:
    """Names of features as a list of texts, checked; None stays None.

    Raises:
        ArgumentError: Not texts, not all different, or not `d` of them.
    """
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ArgumentError(f"feature_names must be a list of names, got {names!r}")
    listed: list[Any] = list(names) if getattr(names, "ndim", 1) else [names]
    bad = next((name for name in listed if not isinstance(name, str)), None)
    if bad is not None:
        raise ArgumentError(f"feature_names must be texts, got {bad!r}")
    if d is not None and len(listed) != d:
        raise ArgumentError(f"feature_names must have {d} names, one a feature, got {len(listed)}")
    twice = [name for name, count in Counter(listed).items() if count > 1]
    if twice:
        raise ArgumentError(f"feature_names must all be different, got {twice[0]!r} twice")
    return listed


def column_order(names: Sequence[str] | None, expected: Sequence[str] | None, name: str) -> list[int] | None:
    """Where each expected feature stands among the columns `names`; None where the order is right, or not known.

    Args:
        names: Of the data; None where it has none, and goes by position.
        expected: Of the features of the map; None where it knows none.
        name: What to call the data in errors.

    Raises:
        ShapeError: A name twice, a feature without a column, or a column without a feature.
    """
    if names is None:
        return None
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise ShapeError(f"{name} must have columns of different names, got {twice[0]!r} twice: {_listed(names)}")
    if expected is None or list(names) == list(expected):
        return None
    if set(names) != set(expected):
        lacking, extra = (sorted(set(a) - set(b)) for a, b in ((expected, names), (names, expected)))
        differences = (("lacks", lacking), ("has in addition", extra))
        parts = [f"{verb} {_listed(found)}" for verb, found in differences if found]
        raise ShapeError(
            f"{name} must have the columns {_listed(expected)} that the map was fitted to, got {_listed(names)}: it "
            f"{' and '.join(parts)}; an array goes by position"
        )
    place = {column: i for i, column in enumerate(names)}
    return [place[feature] for feature in expected]


def series_labels(data: Any) -> list[str] | None:
    """What the values of a pandas series are labeled with, where it is one sample; None for anything else."""
    return _names_in(data.index) if type(data).__name__ == "Series" and hasattr(data, "index") else None


def _names_in(labels: Any) -> list[str] | None:
    if labels is None or callable(labels):
        return None
    listed = list(labels)
    return None if all(isinstance(label, Integral) for label in listed) else [str(label) for label in listed]


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return f"[{shown}]" if len(names) <= most else f"[{shown}, ... {len(names) - most} more]"


def require_finite(tensor: Tensor, name: str, missing: str) -> None:
    """Refuse infinity, and NaN unless `missing` is `"mask"`.

    Raises:
        DataError: With row and column of the first such value and their count.
    """
    if bool(torch.isfinite(tensor.sum())):  # one cheap pass answers nearly all calls; overflow only costs the second
        return
    bad = ~torch.isfinite(tensor) if missing == "error" else torch.isinf(tensor)
    count = int(bad.sum())
    if not count:
        return
    row, column = (int(i) for i in torch.nonzero(bad)[0])
    cure = ": drop or fill them, or use missing='mask'" if missing == "error" else ""
    raise DataError(
        f"{name} must be finite, got {float(tensor[row, column])} at row {row}, column {column} "
        f"({count} such value{'s' if count > 1 else ''}){cure}"
    )


def _as_tensor(data: Any, name: str) -> Tensor:
    if isinstance(data, Tensor):
        _refuse_unreadable(data, name)
    tensor = data.detach() if isinstance(data, Tensor) else _from_array(_as_array(data, name))
    if tensor.dtype == torch.bool:
        return tensor.to(torch.float32)
    if tensor.is_complex():
        raise DataTypeError(f"{name} must be real numbers, got {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise DataTypeError(f"{name} must be a dense tensor, got one of layout {tensor.layout}: use to_dense()")
    return tensor


def _refuse_unreadable(tensor: Tensor, name: str) -> None:
    """Refuse tensors that hold no plain numbers to read."""
    for kind, found in (("nested", tensor.is_nested), ("quantized", tensor.is_quantized), ("meta", tensor.is_meta)):
        if found:
            raise DataTypeError(f"{name} must be a dense tensor of numbers, got a {kind} tensor")


def _as_array(data: Any, name: str) -> np.ndarray[Any, Any]:
    """A numeric NumPy array from whatever has numbers in columns or rows."""
    kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
    if not isinstance(data, Iterator) and is_batches(data):
        raise DataTypeError(f"{name} must hold its rows in memory here, got a {type(data).__name__} of batches")
    if isinstance(data, str | bytes | dict | set) or data is None:
        raise DataTypeError(f"{name} must be a tensor, array, frame or table of numbers, got {type(data).__name__}")
    if kind == "polars.LazyFrame":
        raise DataTypeError(f"{name} must hold its rows, got a LazyFrame: call collect() first")
    if kind.startswith("scipy.") and hasattr(data, "toarray"):
        raise DataTypeError(f"{name} must be dense, got a sparse {type(data).__name__}: use toarray()")
    _refuse_non_numeric_columns(data, name)
    try:
        array = _array_of(data, kind)
        if array.dtype == object:
            array = _numbers_of(array)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataTypeError(f"{name} must be numeric, got {kind}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataTypeError(f"{name} must be numeric, got dtype {array.dtype}")
    return array


def _array_of(data: Any, kind: str) -> np.ndarray[Any, Any]:
    if kind == "pyarrow.Table":
        columns = [data.column(i).to_numpy() for i in range(data.num_columns)]
        return np.column_stack(columns) if columns else np.empty((data.num_rows, 0))
    if kind == "polars.DataFrame":  # NumPy has no integers of 128 bits
        data = data.cast({column: float for column, dtype in data.schema.items() if str(dtype).endswith("Int128")})
    if isinstance(data, np.ma.MaskedArray):  # asarray would show what lies under the mask
        masked = np.ma.is_masked(data)
        return np.asarray(np.ma.filled(data.astype(np.float64), np.nan) if masked else data)
    array: np.ndarray[Any, Any] = data.to_numpy() if hasattr(data, "to_numpy") else np.asarray(data)
    return array


def _numbers_of(objects: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of objects (nullable pandas columns, lists with None) as numbers, NaN for what is missing.

    Raises:
        TypeError: Something in it is no number; text that looks like one is none.
    """

    def number(value: Any) -> float:
        if value is None or type(value).__name__ == "NAType":  # pandas.NA
            return np.nan
        if isinstance(value, str | bytes):
            raise TypeError(f"{value!r} is text")
        return int(value) if isinstance(value, Integral) else float(value)

    numbers = np.array([number(value) for value in objects.flat]).reshape(objects.shape)
    return numbers.astype(np.float64) if numbers.dtype == object else numbers  # integers beyond 64 bits


def _refuse_non_numeric_columns(data: Any, name: str) -> None:
    """Name the text or date column of a frame; NumPy would make objects or, worse, numbers of it."""
    module = type(data).__module__.split(".")[0]
    if module == "polars" and hasattr(data, "schema"):
        bad = [(c, t) for c, t in data.schema.items() if not (t.is_numeric() or str(t) == "Boolean")]
    elif module == "pandas" and hasattr(data, "dtypes") and hasattr(data, "columns"):
        bad = [(c, t) for c, t in zip(data.columns, data.dtypes, strict=True) if getattr(t, "kind", "O") not in "fiub"]
    elif module == "pyarrow" and hasattr(data, "schema"):
        import pyarrow.types as types

        numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        bad = [(f.name, f.type) for f in data.schema if not any(test(f.type) for test in numeric)]
    else:
        bad = []
    if bad:
        column, dtype = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataTypeError(f"{name} must be numeric, got column {str(column)!r} of type {dtype}{more}")


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype == np.longdouble:
        with np.errstate(over="ignore"):  # what float64 cannot hold is infinite, and refused as such
            array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.float64 if array.dtype.itemsize == 8 else np.int64)
    if not array.flags.writeable or any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()  # torch can share neither read-only nor reversed memory, nor a field of records
    return torch.from_numpy(array)


def _as_float(tensor: Tensor, device: torch.device | None) -> Tensor:
    if device is not None:
        tensor = tensor.to(device)
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    if tensor.is_floating_point() or not tensor.numel():
        return tensor.to(torch.float32)
    exact = tensor.dtype != torch.int64 and tensor.dtype != torch.int32
    if exact or -FLOAT32_EXACT <= int(tensor.min()) <= int(tensor.max()) <= FLOAT32_EXACT:
        return tensor.to(torch.float32)
    return tensor.to(torch.float64)


def _is_one_feature(tensor: Tensor, num_features: int | None, single: bool) -> bool:
    """Whether values (n,) are n samples of one feature; a value alone is a sample where one is welcome."""
    if tensor.ndim != 1 or not len(tensor):
        return False
    return num_features == 1 and len(tensor) > 1 if single else num_features in (None, 1)


def _as_matrix(tensor: Tensor, name: str, num_features: int | None, single: bool) -> Tensor:
    expected = f"(n, {'d' if num_features is None else num_features})"
    if single and tensor.ndim == 1:
        tensor = tensor[None]
    if tensor.ndim != 2:
        also = " or one sample of shape (d,)" if single else ""
        raise ShapeError(f"{name} must have shape {expected}{also}, got {tuple(tensor.shape)}")
    if num_features is not None and tensor.shape[1] != num_features:
        raise ShapeError(f"{name} must have {num_features} features, got shape {tuple(tensor.shape)}")
    if not len(tensor) or not tensor.shape[1]:
        raise DataError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")
    return tensor


def _reordered(tensor: Tensor, order: list[int]) -> Tensor:
    """The columns (n, d) in another order, laid out in memory as before: the rounding of products hangs on it."""
    by_column = tensor.stride(0) < tensor.stride(1)
    return tensor.T[order].T if by_column else tensor[:, order]


def _first_bad(values: Tensor) -> str:
    bad = torch.nonzero(~torch.isfinite(values) | (values < 0)).flatten()
    return f"{float(values[bad[0]])} at index {int(bad[0])} ({len(bad)} such)"
