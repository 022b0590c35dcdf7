"""What became of every photo: one JSON document for machines, one HTML page for people.

`build_report` accounts for every row of the photo index, `draw_thumbnails` draws the few photos
that the page shows, `render_page` writes the page. The page stands alone: no script, no font, no
picture is fetched from anywhere, so that it can be mailed, archived and opened in ten years.
"""

from cannabis_ml.pipelines.ingestion.report.content import build_report
from cannabis_ml.pipelines.ingestion.report.page import render_page
from cannabis_ml.pipelines.ingestion.report.thumbnails import draw_thumbnails

__all__ = ["build_report", "draw_thumbnails", "render_page"]
