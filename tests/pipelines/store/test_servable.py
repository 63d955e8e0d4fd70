import json
from hashlib import sha256
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from pipelines.errors import ModelError
from pipelines.store.names import MODEL_TAG
from pipelines.store.registry import find
from pipelines.store.servable import fetch, load
from pipelines.store.versions import Version
from tests.pipelines.registered import FEATURES, RAW, map_model, register_model, stored


@pytest.fixture
def version(store: str) -> Version:
    return register_model("demo", map_model())


def test_nothing_that_is_stored_with_a_model_is_run_and_only_listed_files_are_read(
    version: Version, tmp_path: Path
) -> None:
    root, ran = stored(version.uri), tmp_path / "ran"
    for script in (root / "map_model.py", root / "sitecustomize.py", root / "code" / "pipelines.py"):
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"open({str(ran)!r}, 'w').close()\n" + (script.read_text() if script.is_file() else ""))
    for name in ("MLmodel", "input_example.json", "serving_input_example.json", "requirements.txt"):
        (root / name).write_text("\0")
    (root / "artifacts" / "som_pipelines.zip").write_bytes(b"")
    servable = load(version)
    pd.testing.assert_frame_equal(servable.example, pd.DataFrame(RAW[:3], columns=list(FEATURES)))
    assert servable.predict(servable.example)["cluster"].tolist() == (
        map_model().predict(servable.example)["cluster"].tolist()
    )
    assert not ran.exists()


@pytest.mark.parametrize("name", ["example.json", "scaler.json", "som/config.json", "som/weights.safetensors"])
def test_a_file_that_is_changed_with_the_manifest_is_refused_by_the_tag_of_the_registry(
    name: str, version: Version, tmp_path: Path
) -> None:
    bundle = stored(version.uri) / "artifacts" / "map"
    (bundle / name).write_bytes((bundle / name).read_bytes() + b" ")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    for read in (load, lambda each: fetch(each, tmp_path / "copy")):
        with pytest.raises(ModelError, match="is not the manifest that was registered: its SHA-256 must be") as caught:
            read(version)
        assert "\n" not in str(caught.value)


def test_a_version_without_the_tag_is_refused_and_the_tag_is_what_the_line_says(version: Version) -> None:
    client = mlflow.MlflowClient()
    client.delete_model_version_tag("demo", version.version, MODEL_TAG)
    with pytest.raises(ModelError, match=f"demo version 1 must have the tag {MODEL_TAG}") as caught:
        load(find("demo", version.version))
    assert "set the tag to the SHA-256 of its artifacts/map/manifest.json" in str(caught.value)
    manifest = stored(version.uri) / "artifacts" / "map" / "manifest.json"
    client.set_model_version_tag("demo", version.version, MODEL_TAG, sha256(manifest.read_bytes()).hexdigest())
    assert load(find("demo", version.version)).features == list(FEATURES)


def test_a_model_that_was_logged_before_bundles_had_an_example_has_the_one_beside(version: Version) -> None:
    bundle = stored(version.uri) / "artifacts" / "map"
    (bundle / "example.json").unlink()
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["example.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    digest = sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    mlflow.MlflowClient().set_model_version_tag("demo", version.version, MODEL_TAG, digest)
    pd.testing.assert_frame_equal(
        load(find("demo", "1")).example, pd.DataFrame(RAW[:3], columns=list(FEATURES)), atol=1e-12
    )
    (stored(version.uri) / "MLmodel").write_text("[")
    with pytest.raises(ModelError, match=r"the example in .* cannot be read"):
        load(find("demo", "1"))
