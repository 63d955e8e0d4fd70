"""Reading Parquet: the only package that opens data files.

Three steps, each of which refuses what the next could not use:

1. `find_source` resolves the path to files and the wanted columns to names, from the footers of the files alone;
2. `survey` counts, in one pass that keeps nothing, what is missing, infinite or constant (`validation.py` checks it);
3. `read_dataset` fills one preallocated array, batch by batch.

Everything is lazy: only wanted columns and rows are decoded, and memory is that of the result. Numbers of any width are
welcome, also mixed between files. Values become float32, or float64 where a feature varies too little around a large
value for float32 to distinguish its values.
"""

from pipelines.data.counts import ColumnSurvey, Survey, newest_share_from, survey, time_span
from pipelines.data.dataset import Dataset, content_digest, known_times, read_dataset
from pipelines.data.source import Source, find_source, partitions

__all__ = [
    "ColumnSurvey",
    "Dataset",
    "Source",
    "Survey",
    "content_digest",
    "find_source",
    "known_times",
    "newest_share_from",
    "partitions",
    "read_dataset",
    "survey",
    "time_span",
]
