"""The source of this package as a file that travels with a model, and what else predicting needs.

The package is on no index, so a model's requirements cannot name it. `pyfunc_model.py` takes the source from the file
where no package is installed, and only there: an installed one, newer or older, is never hidden by it. `som serve`
takes nothing from it.
"""

from importlib.metadata import version
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

SOURCE = "source"  # the artifact's name inside of an MLflow model
ARCHIVE = "som_pipelines.zip"
PACKAGES = ("somlib", "pipelines")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same source makes the same file
# What `pipelines.model.map_model` imports, and what loads it.
NEEDED = (
    "torch",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "psutil",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "threadpoolctl",
    "safetensors",
    "pydantic",
    "PyYAML",
    "rich",
    "mlflow",
)


def requirements() -> list[str]:
    """What has to be installed to load the model, as installed here; the package itself comes along."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


def write_source(folder: Path) -> Path:
    """Write the source of this package into a new archive, from which Python imports; its path."""
    root = Path(__file__).parents[2]
    archive = folder / ARCHIVE
    with ZipFile(archive, "x", ZIP_DEFLATED) as opened:
        for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
            entry = ZipInfo(path.relative_to(root).as_posix(), LONG_AGO)
            entry.compress_type = ZIP_DEFLATED
            opened.writestr(entry, path.read_bytes())
    return archive
