import pytest

import pipelines


def test_the_public_names_are_these_and_can_be_had() -> None:
    assert pipelines.__all__ == ["PipelineConfig", "load_config", "log_som", "train_flow"]
    assert all(callable(getattr(pipelines, name)) for name in pipelines.__all__)


def test_other_names_are_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'pipelines' has no attribute 'trainn'"):
        _ = pipelines.trainn
