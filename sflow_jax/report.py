"""Reports for people: tables and pictures in one file that opens offline, and as Markdown."""

import base64
import dataclasses
import io
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence

import jinja2
from matplotlib.figure import Figure

from sflow_jax.files import write_whole

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
PICTURES_FOLDER, CLIPS_FILE = "pictures", "clips.mp4"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: of its section.
        note: what a reader has to know, in a sentence or two.
        header: of the columns.
        rows: one text per column.
    """

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        title: of the page.
        notes: what a reader has to know, a paragraph each.
        tables: in their order.
        pictures: PNG files by name, with a caption each.
        plots: the names of those that are plots, which fit the page; others keep their pixels.
        clips: an mp4 that shows the scenes of the report, if they are clips.
        missing: what was not computed and why, a paragraph each.
        commands: that made the report, a line each.
    """

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    pictures: Mapping[str, tuple[bytes, str]]
    commands: Sequence[str]
    plots: Collection[str] = ()
    clips: bytes | None = None
    missing: Sequence[str] = ()


def write_report(folder: pathlib.Path, report: Report) -> None:
    """Writes report.html, report.md and the pictures of the latter.

    Raises:
        OSError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sflow_jax"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    embedded = {
        name: (base64.b64encode(content).decode(), caption)
        for name, (content, caption) in report.pictures.items()
    }
    clips = base64.b64encode(report.clips).decode() if report.clips else None
    html = environment.get_template("report.html").render(
        report=report, embedded=embedded, clips=clips
    )
    markdown = environment.get_template("report.md").render(
        report=report, pictures_folder=PICTURES_FOLDER, clips_file=CLIPS_FILE
    )
    if report.clips:
        write_whole(folder / PICTURES_FOLDER / CLIPS_FILE, report.clips)
    for name, (content, _) in report.pictures.items():
        write_whole(folder / PICTURES_FOLDER / f"{name}.png", content)
    write_whole(folder / HTML_FILE, html)
    write_whole(folder / MARKDOWN_FILE, markdown)


def draw_plot(plot: Callable[[Figure], None], width: float, height: float) -> bytes:
    """A plot as a PNG file.

    Args:
        plot: draws it into a figure.
        width: of the figure, inches.
        height: likewise.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    plot(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
