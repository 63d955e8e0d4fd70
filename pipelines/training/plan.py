"""What a training does with its rows, decided once, before anything is trained.

`som check` prints the plan, the flows carry it out; both make it by the same steps, so that whatever a training
would refuse at its start, the check refuses too, in the same words:

    inspect         files, columns, settings of the map, and the rows as counted in one pass
    prepare_samples the rows in memory, split and scaled (`samples.py`)
    plan_training   size of the map, local models, and what the user should know
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psutil import virtual_memory

from pipelines.data import Dataset, Source, Survey, find_source, read_dataset, survey
from pipelines.data.samples import Samples, prepare_samples, unknown_values
from pipelines.data.scaling import Scaler
from pipelines.data.validation import remarks, require_map, require_usable, row_remarks
from pipelines.data.window import choose_window
from pipelines.data.window_rows import inspect_window, read_window, window_samples
from pipelines.errors import ConfigError
from pipelines.model.local_plan import LocalPlan, plan_local_models, require_dates
from pipelines.settings.config import PipelineConfig
from pipelines.wording import counted
from somlib.configs import SOMConfig

if TYPE_CHECKING:
    from somlib.utils.grid import Grid

# Of a number as it was read, and scaled; and of a row beside them: targets, times, places in the split and in orders.
BYTES_OF_NUMBER, BYTES_OF_ROW = 12.0, 64.0
MOST_VALUES = 20_000_000  # numbers that are read twice to refuse them a minute earlier: 80 MB, less than a second


@dataclass(frozen=True)
class Plan:
    """What a training does.

    Attributes:
        rows: Numbers of rows: `found`, `left_out`, `train`, `heldout`.
        som: Settings of the map, its size with them.
        local: Which targets get local models.
        notes: What the user should know, though it stops nothing; one line each.
    """

    rows: Mapping[str, int]
    som: SOMConfig
    local: LocalPlan
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return int(self.som.x or 0), int(self.som.y or 0)


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before a training starts.

    Attributes:
        source: Where the rows come from.
        dataset: The rows.
        samples: The rows split and scaled.
        plan: What is done with them.
    """

    source: Source
    dataset: Dataset
    samples: Samples
    plan: Plan


def inspect(config: PipelineConfig) -> tuple[Source, Survey]:
    """The data as far as one pass over it shows, which keeps no row.

    Raises:
        ConfigError: Settings of the map that do not fit the features, or that need another column.
        DatasetError: Data that cannot be read, or that no map can be trained on; with a line for each problem.
    """
    source = find_source(config.data)
    require_fitting_settings(config, source)
    found = survey(source, config.data.drop_incomplete)
    require_usable(source, found, config.data, config.som.missing)
    return source, found


def require_fitting_settings(config: PipelineConfig, source: Source) -> None:
    """Refuse settings that do not fit the columns, before a row is read.

    Raises:
        ConfigError: With a line for each problem.
    """
    require_map(config.som, len(source.features))  # numbers, one weight each; features are known once rows are read
    require_dates(config.jitl, source.time_type)
    if config.neurons is not None:
        _require_clusters(config, config.neurons)


def read_rows(source: Source, found: Survey, config: PipelineConfig) -> tuple[Dataset, Samples | None]:
    """The rows in memory; or, where they would take more than `runtime.memory`, some of them, with their samples.

    Raises:
        DatasetError: A file is damaged or changes; of rows that are streamed also what `prepare_samples` refuses.
    """
    allowed = virtual_memory().total // 2 if config.runtime.memory is None else config.runtime.memory
    if bytes_of_rows(found.used, len(source.features)) <= allowed:
        return read_dataset(source, found, config.data.drop_incomplete), None
    from pipelines.data.streaming import stream_samples  # here: it needs PyTorch, which takes a second to import

    return stream_samples(source, found, config)


def bytes_of_rows(rows: int, features: int) -> float:
    """About what rows take in memory, with all that a training makes of them."""
    return rows * (BYTES_OF_NUMBER * features + BYTES_OF_ROW)


def prepare(config: PipelineConfig) -> Prepared:
    """All that a training does before it trains, in the memory that it takes.

    Raises:
        PipelineError: The training would be refused.
    """
    source, found = inspect(config)
    dataset, streamed = read_rows(source, found, config)
    samples = prepare_samples(dataset, config) if streamed is None else streamed
    return Prepared(source, dataset, samples, plan_training(config, source, dataset, samples))


def require_trainable(config: PipelineConfig) -> None:
    """Refuse what `som train` would refuse, as far as that is quick to find out.

    Raises:
        PipelineError: The training would be refused.
    """
    source, found = inspect(config)
    if _is_small(source, found):
        dataset = read_dataset(source, found, config.data.drop_incomplete)
        plan_training(config, source, dataset, prepare_samples(dataset, config))


def require_retrainable(config: PipelineConfig) -> None:
    """Refuse what `som retrain` would refuse whatever serves, as far as that is quick to find out.

    Raises:
        PipelineError: The retraining would be refused.
    """
    window = choose_window(config.data, config.window)
    require_fitting_settings(config, find_source(window.train))
    if all(_is_small(*part) for part in inspect_window(window, config.som.missing)):
        window_samples(read_window(window, config.som.missing), config)


def _is_small(source: Source, found: Survey) -> bool:
    return found.used * len(source.features) <= MOST_VALUES


def plan_training(
    config: PipelineConfig, source: Source, dataset: Dataset, samples: Samples, start: "Grid | None" = None
) -> Plan:
    """What a training does with its rows.

    Args:
        config: The experiment.
        source: Where the rows came from.
        dataset: The rows.
        samples: The rows split and scaled.
        start: The grid of the map that the training starts from; None starts without one.

    Raises:
        ConfigError: Settings that do not fit the size of the map.
    """
    som = weighted(_sized(config.som, samples, start), samples.scaler)
    neurons = int(som.x or 0) * int(som.y or 0)
    _require_clusters(config, neurons)
    local = plan_local_models(samples.train, neurons, config.jitl)
    found = dataset.survey
    notes = (
        *remarks(source, found),
        *row_remarks(dataset, samples),
        *unknown_values(dataset, samples.scaler),
        *_streaming_remarks(dataset, samples),
        *_size_remarks(samples.counts["train"], neurons),
        *local.reasons,
    )
    return Plan({"found": found.found, "left_out": found.left_out, **samples.counts}, som, local, notes)


def _sized(config: SOMConfig, samples: Samples, start: "Grid | None") -> SOMConfig:
    """The settings with the size of the map: as given, that of the map to start from, or from the samples."""
    if config.x is not None and config.y is not None:
        return config
    if start is not None:
        x, y = start.x, start.y
    else:
        import torch  # here: a size that is given needs none of it

        from somlib.utils.heuristics import map_size, map_size_for

        if samples.streamed is not None and samples.variances is not None:
            hexagonal = config.topology == "hexagonal"
            x, y = map_size_for(samples.streamed.n_rows, *samples.variances, hexagonal, config.pbc)
            return config.model_copy(update={"x": x, "y": y})
        x, y = map_size(torch.from_numpy(samples.train.samples), config.topology == "hexagonal", config.pbc)
    return config.model_copy(update={"x": x, "y": y})


def weighted(config: SOMConfig, scaler: Scaler) -> SOMConfig:
    """The settings with the weight of each number for all features that are made of it."""
    if config.feature_weights is None or scaler.encoding is None:
        return config
    weights = iter(config.feature_weights)
    by_feature = [
        weight
        for column in scaler.encoding.columns
        for weight in [next(weights) for _ in column.numbers]
        for _ in range(len(column.features) // len(column.numbers))
    ]
    return config.model_copy(update={"feature_weights": tuple(by_feature)})


def _require_clusters(config: PipelineConfig, neurons: int) -> None:
    """Refuse more clusters than neurons, which would come up once the map is trained."""
    asked = config.analysis.n_clusters
    if asked is not None and asked > neurons:
        raise ConfigError(
            f"analysis.n_clusters must be at most {neurons}, the number of neurons of the map, got {asked}: "
            "leave it out, and the number is chosen by its score"
        )


def _streaming_remarks(dataset: Dataset, samples: Samples) -> Iterator[str]:
    if samples.streamed is not None:
        yield (
            f"rows are streamed: the map trains on all {counted(samples.streamed.n_rows, 'row')}; maps of targets, "
            f"local models and report know {counted(len(dataset.features), 'row')}, every {dataset.step:,}th: a "
            "larger runtime.memory has all of them there too"
        )


def _size_remarks(rows: int, neurons: int) -> Iterator[str]:
    if rows < neurons:
        yield (
            f"{counted(rows, 'training row')} for {counted(neurons, 'neuron')}: most neurons will stay empty, "
            "use a smaller map"
        )
