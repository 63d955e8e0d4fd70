import pytest
from pydantic import ValidationError

from somlib.visualization import VisualizationConfig


def test_defaults_are_a_png_of_150_dots_an_inch() -> None:
    config = VisualizationConfig()
    assert config.formats == ("png",)
    assert config.dpi == 150
    assert config.planes_per_page == 60


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        VisualizationConfig().dpi = 300  # type: ignore[misc]  # that it is read-only is the point


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("colour", "red", "Extra inputs are not permitted"),
        ("dpi", 0, "greater than or equal to 30"),
        ("map_size", float("inf"), "finite number"),
        ("formats", (), "at least 1 item"),
        ("formats", ("gif",), "'png', 'svg' or 'pdf'"),
        ("sequential_colors", "rainbows", "must be a color map that matplotlib knows, got 'rainbows'"),
        ("ink", "blackish", "must be a color that matplotlib knows, got 'blackish'"),
        ("category_colors", ("red", "reddish"), "must be a color that matplotlib knows, got 'reddish'"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VisualizationConfig(**{field: value})


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in VisualizationConfig.model_fields.values())
