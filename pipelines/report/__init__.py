"""The page that a run leaves behind, `report.html`: one file that explains a map to whoever opens it.

- `facts.py`: what was found out about the data on the way, kept as `facts.json`, and where every row fell
- `content.py`: everything that the page shows, from a run that goes on or from one that has ended
- `words.py`: what the numbers mean
- `predictions.py`: how well the targets are predicted
- `mosaic.py`: small static maps
- `interactive.py`: the map that answers
- `rows.py`: what it finds rows by
- `page.py`: puts all of it together, with `templates/`
- `steps.py`: gathers what the page of a run shows, or makes it again from the artifacts

A run has its page written by a second process, which needs no MLflow, and needs no Bokeh itself: so each part is
imported by whoever asks for it.
"""
