"""The door of scikit-learn estimators: samples, targets and weights checked by scikit-learn, refused in our words.

scikit-learn reads frames, compares names with those of `fit`, and counts features; what it raises is raised again as an
error of somlib, which also is the `ValueError` or `TypeError` that scikit-learn's callers expect. An estimator that is
not fitted stays scikit-learn's `NotFittedError`: its tools look for that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from somlib.errors import DataError, DataTypeError, ShapeError, SomlibError
from somlib.utils.inputs import column_order, feature_names

LARGEST = 1e300  # of all data: sums and differences of larger values leave float64


def checked(
    estimator: Any, X: Any, y: Any = "no_validation", *, fresh: bool, missing: str, squares: bool,
    names: Sequence[str] | None = None, **checks: Any,
) -> Any:  # fmt: skip
    """Samples (n, d), with targets where given, as arrays; refused unless they are numbers of the expected shape.

    Args:
        estimator: Remembers width and names of the samples, or compares them with these.
        X: Samples: array, tensor, or frame.
        y: Targets; left out for none.
        fresh: Whether these are the samples of a new fit.
        missing: `"mask"` lets NaN pass.
        squares: Whether squares of the values must fit into their type, as in distances of raw samples.
        names: Of the features of a map that was given; a frame with column names is put in their order. None leaves
            names to scikit-learn, which refuses another order than that of `fit`.
        checks: Further arguments of scikit-learn's `validate_data`.

    Raises:
        DataTypeError: They are no numbers.
        DataError: Not finite, too large, empty, of other names than in `fit`, or of a wrong shape.
        ShapeError: A frame with other columns than `names`.
    """
    _require_rows(X)
    X = _in_order(X, names)
    with own_errors(_names_beside(estimator, X, fresh)), np.errstate(invalid="ignore"):  # sums of both infinities
        X, y = (_detached(values) for values in (X, y))
        found = validate_data(
            estimator, X, y, reset=fresh, dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan" if missing == "mask" else True, **checks,
        )  # fmt: skip
        samples, target = found if isinstance(found, tuple) else (found, None)
        top = np.sqrt(np.finfo(samples.dtype).max) / 1e3 if squares else LARGEST
        _require_size(samples, float(top), "X")
        if target is not None and target.dtype.kind == "f":
            _require_size(target, LARGEST, "y")
    return found


def numbers(y: NDArray[Any]) -> NDArray[np.float64]:
    """Targets as float64.

    Raises:
        DataTypeError: They are text or other objects; NumPy would make numbers of text that looks like them.
    """
    if y.dtype == object and not any(isinstance(value, str | bytes) for value in y.flat):
        with own_errors(" (Unknown label type: y must be numbers)"):  # words that scikit-learn's checks look for
            y = y.astype(np.float64)
        _require_known(y)
    if y.dtype.kind not in "fiub":
        raise DataTypeError(f"y must be numbers, got dtype {y.dtype}: classes are for a classifier")
    return y.astype(np.float64)


def classes_of(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes among labels (n,), ascending, and the number of each label.

    Raises:
        DataError: Labels are not finite, or look like measured values.
        DataTypeError: Labels that cannot be ordered: some text and some numbers, or None.
    """
    try:
        with own_errors():
            check_classification_targets(y)
        classes, code = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise DataTypeError(f"y must be labels of one kind, all known, got a mixture: {error}") from error
    return classes, code


def checked_weight(sample_weight: Any, X: NDArray[Any]) -> NDArray[np.float64]:
    """Weights (n,) of samples, 1 each for None.

    Raises:
        DataError, ShapeError: Negative, not finite, too large, all 0, or not one a sample.
    """
    with own_errors():
        weight: NDArray[np.float64] = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return weight


@contextmanager
def own_errors(remark: str = "") -> Iterator[None]:
    """Raise what scikit-learn and NumPy raise as errors of somlib, with a remark."""
    try:
        yield
    except (SomlibError, NotFittedError):
        raise
    except TypeError as error:
        raise DataTypeError(f"{error}{remark}") from error
    except (ValueError, OverflowError, RuntimeError) as error:
        text = str(error)
        kind = ShapeError if "inconsistent numbers of samples" in text or "sample_weight.shape" in text else DataError
        raise kind(f"{text.rstrip()}{remark}") from error


def _names_beside(estimator: Any, X: Any, fresh: bool) -> str:
    """Both lists of names, where a frame has others than the one of `fit`, or the same in another order."""
    known, names = getattr(estimator, "feature_names_in_", None), feature_names(X)
    if fresh or known is None or names is None or names == list(known):
        return ""
    return f" (in fit: {', '.join(map(repr, known))}; now: {', '.join(map(repr, names))})"


def _in_order(X: Any, names: Sequence[str] | None) -> Any:
    """A frame with its columns in the order of `names`; anything else as it is."""
    order = column_order(feature_names(X), names, "X")
    if order is None:
        return X
    if hasattr(X, "iloc"):  # pandas
        return X.iloc[:, order]
    return X.select(order) if hasattr(X, "column_names") else X[:, order]  # pyarrow, polars


def _detached(values: Any) -> Any:
    return values.detach().cpu() if hasattr(values, "detach") else values


def _require_rows(X: Any) -> None:
    if type(X).__name__ == "LazyFrame":
        raise DataTypeError("X must hold its rows, got a LazyFrame: call collect() first")


def _require_known(y: NDArray[Any]) -> None:
    if not np.isfinite(y).all():
        raise DataError(f"y must be finite, got {int((~np.isfinite(y)).sum())} values that are not")
    _require_size(y, LARGEST, "y")


def _require_size(values: NDArray[Any], top: float, name: str) -> None:
    """Refuse values of a size that arithmetic on them cannot hold."""
    if not values.size:
        return
    greatest = max(float(np.nanmax(values, initial=0.0)), -float(np.nanmin(values, initial=0.0)))
    if greatest > top:
        raise DataError(f"{name} must be at most {top:.1g} in size, got {greatest:.3g}: use other units")
