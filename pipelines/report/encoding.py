"""Numbers and files as text that a page can hold."""

import base64
import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike


def base64_of(values: ArrayLike, dtype: Any) -> str:
    """Numbers in a binary type such as `<f4`, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def data_uri(media_type: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def svg_uri(figure: Figure) -> str:
    """A figure as the address of an SVG; the same for the same figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri("image/svg+xml", buffer.getvalue())
