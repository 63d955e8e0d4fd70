"""The page that a run leaves behind, `report.html`: one file that explains a map to whoever opens it.

- `facts.py`: what was found out about the data on the way, kept as `facts.json`, and where every row fell
- `content.py`: everything that the page shows, from a run that goes on or from one that has ended
- `words.py`: what the numbers mean
- `predictions.py`: how well the targets are predicted
- `mosaic.py`: small static maps
- `interactive.py`: the map that answers
- `rows.py`: what it finds rows by
- `page.py`: puts all of it together, with `templates/`
- `steps.py`: writes the page beside a run's artifacts, or makes it again from them
"""

from pipelines.report.content import ReportContent
from pipelines.report.facts import flow_facts, notebook_facts
from pipelines.report.page import render_report
from pipelines.report.steps import remake_report, write_report

__all__ = ["ReportContent", "flow_facts", "notebook_facts", "remake_report", "render_report", "write_report"]
