"""The page of a figure: its width, the axes it is drawn into, shown names, title and legend."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict, TypeVar, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.mathtext import MathTextParser
from numpy.typing import NDArray

from workbench.errors import InputError, check_choice, check_one_number, check_text, shown
from workbench.figures.panels import Panels
from workbench.figures.picture import _figure
from workbench.figures.style import _style
from workbench.figures.words import _plain, _shorten

PAGE_WIDTH, PAGE_HEIGHT = 7.2, 9.4  # inches of text on a page
WIDTHS = {"column": 3.25, "page": 6.75}  # inches, of a paper in two columns as ICML sets it
MAX_PANELS, MAX_LINES, MAX_ROWS = 60, 40, 160  # more cannot be read in one figure
NARROWEST = 1.0  # inches of a panel; narrower ones are set in more rows
INSIDE = tuple(name for name in Legend.codes if name != "best")
PLACES = ("above", "right", "best", *INSIDE)


class Options(TypedDict, total=False):
    """What every function of `workbench.figures` that draws takes, by name.

    width: "column" (3.25 in), "page" (6.75 in) or inches, in [2, 20]; by default as wide as what is drawn needs.
    ax: where to draw instead of in a figure of its own: an Axes or an array of Axes, one for each panel in the shape
    that the figure has alone (rows, columns), or a SubFigure of a figure with layout="constrained", which gets the
    panels, the legend and the labels of the axes as a figure of its own would. Its figure is returned.
    labels: shown name of a controller, learner or pool by its name in the table, such as {"adarft eta=50": "AdaRFT"};
    mathematics between dollar signs is set. An arm keeps its look. A name that a controller shares with a pool or a
    learner is the controller's; theirs are "pool uniform" and "learner uniform".
    title: a line over all; with one Axes it takes the place of the panel's own.
    legend: True, False, "above", "right", "best" or another place inside the last panel, such as "lower right".
    """

    width: float | str | None
    ax: Axes | SubFigure | Sequence[Any] | NDArray[Any] | None
    labels: Mapping[str, str] | None
    title: str | None
    legend: bool | str


@dataclass(frozen=True, eq=False)
class Page:
    """The options of one figure, checked; see `Options`."""

    width: Any = None
    ax: Any = None
    labels: Any = None
    title: Any = None
    legend: Any = True

    def __post_init__(self) -> None:
        if self.width is not None:
            if self.ax is not None:
                raise InputError(f"width: must not be given with ax, whose figure has its own, got {shown(self.width)}")
            if isinstance(self.width, str):
                if self.width not in WIDTHS:
                    raise InputError(f'width: must be "column", "page" or inches, got {shown(self.width)}')
            else:
                check_one_number("width", self.width, 2, 20)
        if self.labels is not None:
            self._check_labels()
        if self.title is not None:
            check_text("title", self.title)
            _check_mathematics("title", self.title)
        if not isinstance(self.legend, (bool, np.bool_)):
            if not isinstance(self.legend, str):
                raise InputError(f"legend: must be True, False or a place, got {shown(self.legend)}")
            check_choice("legend", self.legend, PLACES)

    def _check_labels(self) -> None:
        given = self.labels
        texts = isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair)
        if not texts:
            raise InputError(f"labels: must map names of the table to the names shown, got {shown(given)}")
        for name, text in given.items():
            check_text("labels", text)
            if not text.strip():
                raise InputError(f"labels: must have a name to show for {shown(name)}, got {shown(text)}")
            _check_mathematics("labels", text)

    @property
    def usual(self) -> bool:
        """Whether the figure is as wide as it likes."""
        return self.width is None and self.ax is None

    @property
    def fixed(self) -> bool:
        """Whether the number of rows and columns is given with the axes."""
        return self.ax is not None and not isinstance(self.ax, SubFigure)

    def inches(self, usual: float) -> float:
        """The width, which is `usual` where none is given."""
        if self.width is None:
            host = _host(self.ax)
            return usual if host is None else float(host.bbox.width / host.figure.dpi)
        return float(WIDTHS.get(self.width, self.width) if isinstance(self.width, str) else self.width)

    def names(self, known: Collection[Any], letters: int = 10**4, lines: int = 1) -> dict[Any, str]:
        """Name in the table -> name shown: of `labels`, otherwise its own, shortened. Different ones stay different."""
        own = _shorten([str(name) for name in known], max(letters, 6), lines)
        given = self.labels or {}
        names = {name: given.get(str(name), _plain(own[str(name)])) for name in known}
        twice = [text for text in names.values() if list(names.values()).count(text) > 1]
        if twice:
            raise InputError(f"labels: must show different names differently, got {shown(twice[0])} for several")
        return names

    def places(
        self, kind: str, known: Collection[Any], arms: Collection[Any], letters: int, lines: int = 1
    ) -> dict[Any, str]:
        """The same for what `kind` says, a pool or learner: "pool uniform" where an arm is named "uniform", too."""
        given, free = self.labels or {}, {str(name) for name in known} - {str(arm) for arm in arms}
        own = {name: given[name] for name in free if name in given}
        own |= {str(name): given[f"{kind} {name}"] for name in known if f"{kind} {name}" in given}
        return replace(self, labels=own).names(known, letters, lines)

    def around(self, text: str, baseline: str) -> str:
        """The text, with the name of the baseline as it is shown where it says {baseline}."""
        return self.names([baseline])[baseline].join(map(_plain, text.split("{baseline}")))

    def check_used(self, *known: Iterable[Any], learners: Collection[Any] = (), pools: Collection[Any] = ()) -> None:
        """InputError where no label is of a name in the table."""
        names = [str(name) for some in (*known, learners, pools) for name in some]
        names += [f"{kind} {name}" for kind, some in (("learner", learners), ("pool", pools)) for name in some]
        if self.labels and not set(self.labels) & set(names):
            raise InputError(f"labels: must have a name of the table, such as {shown(names[0])}, got "
                             f"{shown(next(iter(self.labels)))}")  # fmt: skip

    def panels(self, rows: int, columns: int, width: float, height: float, what: str, **shared: Any) -> Panels:
        """Axes to draw in, (rows, columns): of a figure of that size in inches, or those that were given.

        what: the panels as an error names them. shared: sharex and sharey, of axes of our own.
        """
        if self.ax is None or isinstance(self.ax, SubFigure):
            figure: Figure | SubFigure = _figure(width, height) if self.ax is None else self._subfigure()
            return Panels(self, figure, figure.subplots(rows, columns, squeeze=False, **shared))
        single = isinstance(self.ax, Axes)
        try:
            given = np.empty((1, 1), object) if single else np.asarray(self.ax, object)
        except ValueError:
            given = np.empty(0, object)
        if single:
            given[0, 0] = self.ax
        if given.ndim == 1 and 1 in (rows, columns) and len(given) == rows * columns:
            given = given.reshape(rows, columns)
        right = given.shape == (rows, columns) and all(isinstance(one, Axes) for one in given.flat)
        if not right or len({id(one) for one in given.flat}) < given.size:
            wanted = "an Axes" if rows * columns == 1 else f"an array of {rows} x {columns} Axes"
            got = f"an array of shape {given.shape}" if not single and given.ndim else shown(self.ax)
            raise InputError(f"ax: must be {wanted} for {what}, or a SubFigure, got {got}")
        return Panels(self, None, given)

    def _subfigure(self) -> SubFigure:
        host = cast(SubFigure, self.ax)
        if not isinstance(host.get_figure(root=True).get_layout_engine(), ConstrainedLayoutEngine):
            raise InputError('ax: must be a SubFigure of a figure with layout="constrained", got one without')
        if host.axes or host.legends:
            raise InputError(f"ax: must be an empty SubFigure, got one with {len(host.axes)} axes")
        return host


def _host(ax: Any) -> Any:
    """What the width of a panel is read from."""
    if isinstance(ax, (Axes, SubFigure)):
        return ax
    try:
        first = next(iter(np.asarray(ax, object).flat), None) if ax is not None else None
    except ValueError:
        first = None
    return first if isinstance(first, Axes) else None


def _check_mathematics(field: str, text: str) -> None:
    try:
        MathTextParser("path").parse(text)
    except (ValueError, RecursionError):
        raise InputError(f"{field}: must be text, or mathematics that matplotlib reads, got {shown(text)}") from None


Draw = TypeVar("Draw", bound=Callable[..., Any])


def drawn(function: Draw) -> Draw:
    """A function that draws, under the style of figures; its `options` show as the parameters that `Options` names."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    kinds = {name: getattr(kind, "__forward_arg__", kind) for name, kind in Options.__annotations__.items()}
    more = [inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=kinds[one.name])
            for one in fields(Page)]  # fmt: skip
    public = signature.replace(parameters=[*own, *more])

    @functools.wraps(function)
    def draw(*values: Any, **named: Any) -> Any:
        public.bind(*values, **named)
        with _style():
            return function(*values, **named)

    draw.__signature__ = public  # type: ignore[attr-defined]
    return cast(Draw, draw)
