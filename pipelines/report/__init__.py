"""The page that a run leaves behind, `report.html`: one file that explains a map to whoever opens it.

facts.py        what was found out about the data on the way, kept as `facts.json`; where every row fell
content.py      everything that the page shows, from a run that is going on or from one that has ended
words.py        what the numbers mean
mosaic.py       small static maps
interactive.py  the map that answers
page.py         puts it together, with `templates/`
"""

from pipelines.report.content import ReportContent, RunFacts
from pipelines.report.facts import Facts, flow_facts, notebook_facts
from pipelines.report.page import render_report

__all__ = ["Facts", "ReportContent", "RunFacts", "flow_facts", "notebook_facts", "render_report"]
