"""What importing the package loads, and what it leaves until it is used."""

import subprocess
import sys

import pytest

SLOW = {"sklearn", "scipy", "matplotlib", "bokeh", "pandas", "polars", "pyarrow", "faiss"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a new interpreter holds after `code`."""
    listing = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(run(listing).split())


def run(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    return done.stdout


def test_maps_are_made_and_trained_without_what_only_clusters_and_figures_need() -> None:
    steps = (  # in one interpreter, each on top of those before
        "import somlib",
        "dir(somlib)",
        "from somlib import SOM, GrowingSOM, HierarchicalSOM, SOMConfig",
        "import torch; SOM(3, 2, 2, epochs=1).fit(torch.rand(9, 2), verbose=False)",
        "import somlib.utils.clustering, somlib.utils.quality, somlib.utils.alignment",
    )
    said = f"import sys\ndef loaded(): print(*({SLOW} & {{name.split('.')[0] for name in sys.modules}}), sep=' ')\n"
    answer = run(said + "\n".join(f"{step}\nloaded()" for step in steps))
    assert dict(zip(steps, answer.splitlines(), strict=True)) == dict.fromkeys(steps, "")


def test_what_draws_is_loaded_when_it_is_asked_for() -> None:
    code = "import somlib; from somlib import SOMVisualizer; assert SOMVisualizer is somlib.SOMVisualizer"
    assert {"matplotlib"} <= loaded_by(code)


def test_every_public_name_is_listed_and_found() -> None:
    code = "import somlib\nfor name in somlib.__all__: assert name in dir(somlib) and getattr(somlib, name)"
    assert "somlib" in loaded_by(code)


def test_an_unknown_name_is_an_attribute_error_like_any_modules() -> None:
    import somlib

    with pytest.raises(AttributeError, match="module 'somlib' has no attribute 'Nothing'"):
        somlib.Nothing  # noqa: B018  # that is the point
