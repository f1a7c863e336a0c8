"""Fonts, sizes and lines of figures: one style for all, and a context in which it is another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont

from workbench.errors import InputError, check_flag, check_one_number, check_text, shown

EMBED: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}  # TrueType: editable, and accepted where Type 3 is refused
SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "figure.labelsize", "figure.titlesize", "xtick.labelsize",
         "ytick.labelsize", "legend.fontsize", "legend.title_fontsize")  # fmt: skip
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: equal bytes on every machine
    **dict.fromkeys(SIZES, 8),
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    **EMBED,
}
LETTER = 0.063  # mean width of an 8 pt letter, inches
# Kind of font: one that comes with matplotlib, and the mathematics beside it.
FONTS = {
    "serif": ("STIXGeneral", "stix"),
    "sans-serif": ("DejaVu Sans", "dejavusans"),
    "monospace": ("DejaVu Sans Mono", "dejavusans"),
}

_own: ContextVar[dict[str, Any]] = ContextVar("_own", default={})  # noqa: B039  never changed in place


def style(
    font: str | None = None, size: float | None = None, usetex: bool | None = None, rc: Mapping[str, Any] | None = None
) -> AbstractContextManager[None]:
    """A context in which figures are drawn and saved in another font or size: `with wb.figures.style("serif", 7):`.

    font: "serif", "sans-serif" or "monospace", each a font that comes with matplotlib, or the name of one that is
    installed. size: of all text, points, in [4, 24]. usetex: whether LaTeX sets the text, which must be installed; it
    then brings the font, and names are escaped for it. rc: further settings of matplotlib, such as
    {"axes.grid": False}. What is not given stays as it is outside.
    Inside, matplotlib's own settings are these too, so that axes made with pyplot look alike, and what is saved as PDF
    or PS embeds TrueType fonts, also of such figures. Figures of ours keep the style that they were drawn in.
    Raises InputError for a value out of its domain.
    """
    own: dict[str, Any] = {}
    if font is not None:
        check_text("font", font)
        family, math = FONTS.get(font, (font, "dejavusans"))
        try:
            findfont(FontProperties(family=[family]), fallback_to_default=False)
        except (ValueError, UnicodeError):
            kinds = ", ".join(FONTS)
            raise InputError(f"font: must be {kinds} or the name of an installed font, got {shown(font)}") from None
        # the second has signs that the first may lack
        own |= {"font.family": [family, "DejaVu Sans"], "mathtext.fontset": math}
    if size is not None:
        check_one_number("size", size, 4, 24)
        own |= dict.fromkeys(SIZES, float(size))
    if usetex is not None:
        check_flag("usetex", usetex)
        lacking = [program for program in ("latex", "dvipng") if shutil.which(program) is None]
        if usetex and lacking:
            raise InputError(f"usetex: must be False where {' and '.join(lacking)} cannot be run, got True")
        own |= {"text.usetex": usetex}
    return _drawn_in(_own.get() | own | _checked(rc))


def _checked(rc: Any) -> dict[str, Any]:
    if rc is None:
        return {}
    if not isinstance(rc, Mapping):
        raise InputError(f"rc: must map names of matplotlib's settings to values, got {shown(rc)}")
    for name, value in rc.items():
        if not isinstance(name, str) or name not in STYLE | dict.fromkeys(mpl.rcParams) or name in EMBED:
            raise InputError(f"rc: must have names of matplotlib's settings, TrueType aside, got {shown(name)}")
        try:
            mpl.RcParams({name: value})
        except Exception as error:
            raise InputError(f"rc: must have a value that matplotlib takes for {name}, got {shown(value)}") from error
    return dict(rc)


@contextmanager
def _drawn_in(own: dict[str, Any]) -> Iterator[None]:
    token = _own.set(own)
    try:
        with mpl.rc_context(_settings()):
            yield
    finally:
        _own.reset(token)


def _settings() -> Any:
    """What matplotlib is set to, beside its defaults, where a figure is drawn."""
    return STYLE | _own.get() | EMBED


@contextmanager
def _style(settings: Any = None) -> Iterator[None]:
    """matplotlib's defaults plus these settings; the caller's are ignored meanwhile and restored after."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_settings() if settings is None else settings)
        yield


def _scale() -> float:
    """How large text is beside that of STYLE."""
    return float(mpl.rcParams["font.size"]) / 8


def _letter() -> float:
    """Mean width of a letter, inches."""
    return LETTER * _scale()
