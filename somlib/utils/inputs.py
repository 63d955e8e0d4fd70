"""The one door for data: everything a caller may pass becomes a checked tensor `(n, d)` here.

Torch tensors, NumPy arrays, polars and pandas frames, pyarrow tables and nested lists are read; nothing is changed in
place, and nothing is copied that need not be. Float64 stays float64; all else becomes float32, but for integers that
float32 cannot hold exactly, which become float64.
"""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somlib.errors import DataError, DataTypeError, ShapeError

FLOAT32_EXACT = 2**24  # the largest range in which float32 holds every integer


def read_samples(
    data: Any,
    *,
    name: str = "data",
    num_features: int | None = None,
    device: torch.device | None = None,
    missing: str = "error",
    single: bool = False,
) -> Tensor:
    """Samples as a float tensor of shape (n, d), checked.

    Args:
        data: Tensor, array, frame, table or nested list of numbers; never changed.
        name: What to call it in errors.
        num_features: The `d` it must have; None takes any.
        device: Where the tensor shall be; None leaves it where it is.
        missing: `"error"` refuses NaN, `"mask"` lets it pass. Infinity is refused by both.
        single: Whether one sample of shape (d,) is welcome; it comes back as (1, d).

    Returns:
        float32, or float64 where the data was (or holds integers beyond 2^24), shape (n, d).

    Raises:
        DataTypeError: `data` is not numeric.
        ShapeError: `data` is not 2-D, or of the wrong width.
        DataError: `data` is empty, or holds NaN or infinity where it may not.
    """
    tensor = _as_float(_as_tensor(data, name), device)
    tensor = _as_matrix(tensor, name, num_features, single)
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


def read_sample_weight(weight: Any, n: int, tensor: Tensor) -> Tensor | None:
    """Sample weights as a tensor of shape (n,), dtype and device of `tensor`; None stays None.

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
    if not bool(values.any()):
        raise DataError("sample_weight must not be 0 for every sample")
    return values


def feature_names(data: Any) -> list[str] | None:
    """Column names of a frame or table, None for anything without."""
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None:
        names = getattr(data, "columns", None)  # polars, pandas
    return None if names is None else [str(name) for name in names]


def require_finite(tensor: Tensor, name: str, missing: str) -> None:
    """Refuse infinity, and NaN unless `missing` is `"mask"`.

    Raises:
        DataError: With row and column of the first such value and their count.
    """
    if bool(torch.isfinite(tensor.sum())):  # one cheap pass settles nearly all calls; overflow only costs the second
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
    tensor = data.detach() if isinstance(data, Tensor) else _from_array(_as_array(data, name))
    if tensor.dtype == torch.bool:
        return tensor.to(torch.float32)
    if tensor.is_complex():
        raise DataTypeError(f"{name} must be real numbers, got {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise DataTypeError(f"{name} must be a dense tensor, got one of layout {tensor.layout}: use to_dense()")
    return tensor


def _as_array(data: Any, name: str) -> np.ndarray[Any, Any]:
    """A numeric NumPy array from whatever has numbers in columns or rows."""
    kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
    if isinstance(data, str | bytes | dict | set) or data is None:
        raise DataTypeError(f"{name} must be a tensor, array, frame or table of numbers, got {type(data).__name__}")
    if kind == "polars.LazyFrame":
        raise DataTypeError(f"{name} must hold its rows, got a LazyFrame: call collect() first")
    _refuse_non_numeric_columns(data, name)
    try:
        array = _array_of(data, kind)
        if array.dtype == object:
            array = _numbers_of(array)
    except (TypeError, ValueError) as error:
        raise DataTypeError(f"{name} must be numeric, got {kind}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataTypeError(f"{name} must be numeric, got dtype {array.dtype}")
    return array


def _array_of(data: Any, kind: str) -> np.ndarray[Any, Any]:
    if kind == "pyarrow.Table":
        columns = [data.column(i).to_numpy() for i in range(data.num_columns)]
        return np.column_stack(columns) if columns else np.empty((data.num_rows, 0))
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


def _first_bad(values: Tensor) -> str:
    bad = torch.nonzero(~torch.isfinite(values) | (values < 0)).flatten()
    return f"{float(values[bad[0]])} at index {int(bad[0])} ({len(bad)} such)"
