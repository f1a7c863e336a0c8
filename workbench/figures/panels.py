"""Axes that a figure is drawn in, and what stands around them: titles, labels, the legend, and a layout that fits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerTuple
from matplotlib.text import Text
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.figures.picture import Picture
from workbench.figures.words import _fitted, _folded, _plain

if TYPE_CHECKING:
    from workbench.figures.page import Page


@dataclass(eq=False)
class Panels:
    """Axes that are drawn in, and what stands around them. figure: None where the axes are somebody else's."""

    page: Page
    figure: Figure | SubFigure | None
    axes: NDArray[Any]  # (rows, columns) of Axes
    made: Legend | None = None
    said: tuple[Any, ...] = ()  # handles, texts, title of the legend
    columns: int = 1
    known: set[str] = field(default_factory=set)
    state: Any = None

    @property
    def own(self) -> bool:
        """Whether the figure is ours alone."""
        return isinstance(self.figure, Picture)

    @property
    def single(self) -> bool:
        """Whether it is one Axes of somebody else's figure."""
        return self.figure is None and self.axes.size == 1

    def name(self, row: int, column: int, text: str) -> None:
        """The title of a panel."""
        title = self.page.title if self.single and self.page.title is not None else text
        self.axes[row, column].set_title(title)

    def hide(self, row: int, column: int) -> None:
        """Leave out a panel; the one above then has the numbers of the axis that they share."""
        self.axes[row, column].set_visible(False)
        if self.figure is not None and row:
            self.axes[row - 1, column].tick_params(axis="x", labelbottom=True)

    def along(self, x: str = "", y: str = "") -> None:
        """What the axes of all panels are."""
        if self.figure is not None:
            if x:
                self.figure.supxlabel(x)
            if y:
                self.figure.supylabel(y)
            return
        for ax in self.axes[-1] if x else ():
            ax.set_xlabel(_folded(x, ax.bbox.width, ax.xaxis.label))
        for ax in self.axes[:, 0] if y else ():
            ax.set_ylabel(_folded(y, ax.bbox.height, ax.yaxis.label))

    def note(self, text: str) -> None:
        """A line over all panels, under the title."""
        lines = [line for line in (self.page.title, text) if line]
        if self.figure is not None and lines:
            self.figure.suptitle("\n".join(lines))
        elif lines and self.axes.size == 1:
            self.axes[0, 0].set_title("\n".join(lines))

    def heading(self) -> None:
        """The title of the options, for a figure without legend."""
        if self.figure is not None and self.page.title:
            self.figure.suptitle(self.page.title)

    def legend(self, handles: Sequence[Any], texts: Sequence[str], title: str, columns: int = 1) -> None:
        """The legend, where the options want it; above the panels by default: matplotlib would print one below them
        over the label of the axis."""
        self.said, self.columns = (list(handles), list(texts), title), columns
        self._legend()

    def _place(self) -> str:
        given = self.page.legend
        if isinstance(given, str):
            return given
        return "above" if self.figure is not None else "best"

    def _legend(self, more: tuple[list[Any], list[str]] = ([], [])) -> None:
        if self.made is not None:
            self.made.remove()
            self.made = None
        handles, texts, title = self.said
        place, show = self._place(), bool(self.page.legend)
        heading = self.page.title if self.figure is not None else None
        if heading and not (show and place == "above"):
            self.figure.suptitle(heading)  # type: ignore[union-attr]
            heading = None
        if not show:
            return
        how: dict[str, Any] = {
            "title": "\n".join(line for line in (heading, title) if line), "handlelength": 3.2, "columnspacing": 1.4,
            "borderaxespad": 0.1, "labelspacing": 0.35, "handler_map": {tuple: HandlerTuple(ndivide=None)},
            "ncols": self.columns if place == "above" else 1,
        }  # fmt: skip
        handles, texts = [*handles, *more[0]], [*texts, *more[1]]
        last = self.axes.flat[-1]
        if self.figure is None:
            how["title"] = _folded(how["title"], last.bbox.width, last.title)
        if self.figure is not None and place in ("above", "right"):
            loc: Any = {"above": "outside upper center", "right": "outside right upper"}[place]
            self.made = self.figure.legend(handles, texts, loc=loc, **how)
        elif place in ("above", "right"):
            loc, at = {"above": ("lower center", (0.5, 1.1)), "right": ("center left", (1.02, 0.5))}[place]
            self.made = last.legend(handles, texts, loc=loc, bbox_to_anchor=at, **how)
        else:
            self.made = last.legend(handles, texts, loc=place, **how | {"borderaxespad": 0.5})
        self.made.get_title().set_multialignment("center")

    def done(self, alt: str) -> Figure:
        """The figure, laid out if it is ours, with the sentence that says what it shows."""
        first = self.axes.flat[0]
        root: Figure = first.get_figure(root=True)
        hosts = [self.figure] if self.figure is not None else [*self.axes.flat]
        for text in (text for host in hosts for text in host.findobj(Text)):
            text.set_fontfeatures(["-liga"])  # ligatures would add a second subset of the font to a PDF
        self.known = {text for ax in self.axes.flat for text in ax.get_legend_handles_labels()[1]}
        if isinstance(root, Picture):
            root.alt = " ".join(part for part in (root.alt, alt) if part)
        else:
            root.alt = " ".join(part for part in (getattr(root, "alt", ""), alt) if part)  # type: ignore[attr-defined]
        if self.own:
            picture = cast(Picture, self.figure)
            self._lay_out(picture)
            picture._layout_of = self
        elif self.figure is not None:
            self._fit(root)
        return root

    def _lay_out(self, picture: Picture, grow: bool = True) -> None:
        """Lay out once, under the figure's style, and keep it: each further draw would move texts by a fraction of a
        pixel."""
        self._fit(picture, grow)
        self.state = self._now()
        picture.set_layout_engine(None)  # with any other, one of nothing too, matplotlib draws twice for each file

    def _now(self) -> Any:
        assert self.figure is not None
        added = [text for ax in self.axes.flat for text in ax.get_legend_handles_labels()[1] if text not in self.known]
        return tuple(self.figure.get_figure(root=True).get_size_inches()), tuple(dict.fromkeys(added))

    def renew(self) -> None:
        """Lay out again if the size is another, or if somebody added a line with a label: it joins the legend."""
        now = self._now()
        if now == self.state or self.state is None:
            return
        self.state = now  # laying out draws, too
        picture = cast(Picture, self.figure)
        if self.said:
            found = [ax.get_legend_handles_labels() for ax in self.axes.flat]
            by_text = {text: handle for handles, texts in found for handle, text in zip(handles, texts, strict=True)}
            self._legend(([by_text[text] for text in now[1]], [_plain(text) for text in now[1]]))
        picture.set_layout_engine("constrained")
        self._lay_out(picture, grow=False)

    def _fit(self, root: Figure, grow: bool = False) -> None:
        """Lay out, break what is too long into lines, and lay out again until all of it fits; a figure that may grow
        becomes higher by these lines."""
        assert self.figure is not None
        for _ in range(6):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                root.draw_without_rendering()
            for warning in told:
                if "constrained_layout not applied" in str(warning.message):
                    width = root.get_size_inches()[0]
                    raise InputError(f"width: must leave room for names and numbers, got {width:g} inches")
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            height = self._broken()
            if height is None:
                return
            if grow:
                root.set_figheight(root.get_figheight() + height / root.dpi)

    def _broken(self) -> float | None:
        """Break texts that are longer than their place; None if none was, otherwise the pixels of height that adds."""
        figure = cast(Any, self.figure)
        across, up = figure.bbox.width - 4, figure.bbox.height - 4
        rooms: list[tuple[Text, float]] = [(text, across) for text in (figure._suptitle, figure._supxlabel) if text]
        if self.made is not None:
            box = self.made.get_window_extent()
            if box.width > across and self.columns > 1 and self._place() == "above":
                self.columns -= 1
                self._legend()
                return float(self.made.get_window_extent().height - box.height)
            rooms.append((self.made.get_title(), across))
            names = [text.get_window_extent().width for text in self.made.get_texts()]  # none beside a mere title
            beside = box.width - max(names, default=0.0)
            rooms += [(text, across - beside) for text in self.made.get_texts() if self.columns == 1]
        if figure._supylabel:
            label = figure._supylabel.get_window_extent()
            meets = self.made is not None and self._place() == "above" and label.overlaps(box)
            rooms.append((figure._supylabel, 2 * box.y0 - label.y0 - label.y1 if meets else up))
        changes = [_fitted(text, room) for text, room in rooms]
        first, last = (ax.get_window_extent() for ax in (self.axes[0, 0], self.axes[-1, -1]))
        rows, columns = self.axes.shape
        beside, below = (last.x0 - first.x0) / max(1, columns - 1), (first.y0 - last.y0) / max(1, rows - 1)
        of_axes: list[list[float | None]] = [[None], [None]]
        for ax in figure.axes:
            box = ax.get_window_extent()
            middle, height = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            alone = ax not in list(self.axes.flat)  # a colour bar has nothing beside it
            wide, tall = (across, up) if alone else (beside or across, below or up)
            room = min(wide, 2 * (middle - figure.bbox.x0), 2 * (figure.bbox.x1 - middle)) - 4
            level = min(tall, 2 * (height - figure.bbox.y0), 2 * (figure.bbox.y1 - height)) - 4
            of_axes[0].append(_fitted(ax.title, room))
            of_axes[1].append(_fitted(ax.xaxis.label, room))
            changes.append(_fitted(ax.yaxis.label, level))
        for grown in of_axes:  # those beside each other count once
            known = [height for height in grown if height is not None]
            changes.append(max(known) * rows if known else None)
        labels = [ax.yaxis.label.get_window_extent() for ax in figure.axes if ax.yaxis.label.get_text()]
        cut = max((figure.bbox.x0 - box.x0 for box in labels), default=0.0)
        if cut > 1 and self.own:  # ticks that the layout did not foresee: leave as much more room
            engine = cast(ConstrainedLayoutEngine, figure.get_layout_engine())
            left = engine.get()["rect"][0] + (cut + 4) / figure.bbox.width
            engine.set(rect=(left, 0.0, 1.0 - left, 1.0))
            changes.append(0.0)
        known = [height for height in changes if height is not None]
        return sum(known) if known else None
