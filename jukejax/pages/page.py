"""HTML elements of a static page: escaped text, players, pictures, tables, one style sheet.

A page is one HTML file with an inline style sheet and relative links only. Its only script stops a
player when another starts, follows the words of lyrics, and conducts listening tests. It can be
opened from disk, and supports screen readers, phones and dark screens. Functions are named after
the elements whose markup they return.
"""

import html
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from jukejax.common import formatting
from jukejax.pages.pictures import HEIGHT, WIDTH, dark_path

_NBSP = "\u00a0"  # no line break between a number and its unit


class Html(str):
    """Finished markup; every other string is escaped when it is added to a page."""


def markup(value: object) -> Html:
    """Converts `value` to markup: `Html` is kept, sequences are joined, all else is escaped."""
    if isinstance(value, Html):
        return value
    if isinstance(value, list | tuple):
        return Html("".join(markup(child) for child in value))
    return Html(html.escape("" if value is None else str(value), quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Returns an element, as in `tag("p", "a < b", class_="note")`; omits attributes of None."""
    opening = name
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            opening += f" {key}" if value is True else f' {key}="{markup(str(value))}"'
    if name in ("img", "source", "meta", "input"):
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{markup(children)}</{name}>")


def link(path: str | os.PathLike) -> str:
    """Encodes a relative path as the address of a link."""
    return quote(PurePosixPath(path).as_posix())


def number(value: object, form: str = ".2f", unit: str = "") -> str:
    """Formats a number with its unit; returns a dash for any value that is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:{form}}".replace("-", "−") + (f"{_NBSP}{unit}" if unit else "")


def duration(seconds: object) -> str:
    """Formats a time: `0.4 s`, `38 s`, `4 min 05 s`, `2 h 10 min`; a dash if it is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return "–"
    if not math.isfinite(seconds):
        return "–"
    text = f"{seconds:.1f} s" if seconds < 0.1 else formatting.format_duration(seconds)
    return text.replace(" ", _NBSP)


def note(text: object) -> Html:
    """Returns a line in small print, such as an explanation or the name of a missing file."""
    return tag("p", text, class_="note")


def player(source: str | os.PathLike, label: str) -> Html:
    """Returns an audio player of the file at the relative path `source`, described by `label`."""
    return tag(
        "audio", controls=True, preload="metadata", src=link(source), aria_label=label, title=label
    )


def picture(source: str | os.PathLike, alt: str) -> Html:
    """Returns the picture at the relative path `source`, with its version for dark screens."""
    dark = tag("source", srcset=link(dark_path(source)), media="(prefers-color-scheme: dark)")
    size = {"width": WIDTH // 2, "height": HEIGHT // 2}
    image = tag("img", src=link(source), alt=alt, loading="lazy", **size)
    return tag("picture", dark, image)


def card(title: object, *children: object, strong: bool = False) -> Html:
    """Returns a box of a grid, with a small heading if `title` is not empty."""
    style = "card strong" if strong else "card"
    return tag("div", tag("h3", title) if title else "", *children, class_=style)


def grid(cards: Sequence[object], *, columns: int = 3) -> Html:
    """Returns cards side by side, at most `columns` (2 or 3) in a row."""
    return tag("div", *cards, class_="grid" if columns == 3 else "grid two") if cards else Html("")


def facts(pairs: Iterable[tuple[object, object]], *, large: bool = False) -> Html:
    """Returns a list of names and values; `large` is for the key figures at the top of a page."""
    entries = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs]
    return tag("dl", entries, class_="tiles" if large else "facts")


def table(
    caption: object, columns: Sequence[str], rows: Iterable[Sequence[object]], *, text: int = 1
) -> Html:
    """Returns a table that scrolls if too wide; heads and the first `text` columns wrap."""
    head = tag("tr", [tag("th", name, scope="col") for name in columns])
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            [
                tag("td", cell, class_="number" if column >= text else None)
                for column, cell in enumerate(row[1:], start=1)
            ],
        )
        for row in rows
    ]
    content = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *children: object) -> Html:
    """Returns content that is collapsed under its summary."""
    return tag("details", tag("summary", summary), *children)


def section(name: str, title: str, *children: object) -> Html:
    """Returns a chapter of a page, the target of links to `#name`."""
    return tag("section", tag("h2", title), *children, id=name)


def document(
    title: str,
    *children: object,
    contents: Sequence[tuple[str, str]] = (),
    script: str = "",
    style: str = "",
) -> str:
    """Returns a complete HTML file.

    Args:
      title: heading above the children.
      contents: (name, title) of the sections, for a menu.
      script, style: added to those of every page.
    """
    menu = ""
    if contents:
        entries = [tag("li", tag("a", text, href=f"#{name}")) for name, text in contents]
        menu = tag("nav", tag("ul", entries), aria_label="On this page")
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{_STYLE}{style}</style>"),
    )
    main = tag("main", tag("h1", title), menu, children)
    body = tag("body", main, Html(f"<script>{_ONE_PLAYER_AT_A_TIME}{script}</script>"))
    return f"<!doctype html>\n{tag('html', tag('head', head), body, lang='en')}\n"


_ONE_PLAYER_AT_A_TIME = (
    'addEventListener("play",e=>document.querySelectorAll("audio")'
    ".forEach(a=>a===e.target||a.pause()),true);"
)

_STYLE = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1d2027;--quiet:#5b6270;
--line:#dfe2e8;--accent:#c2410c;--bar:#f0a37c}
@media (prefers-color-scheme:dark){:root{--page:#121419;--card:#1b1e25;--ink:#eceef3;
--quiet:#a5adbb;--line:#333843;--accent:#ff9a66;--bar:#a85a34}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:clamp(1.7rem,4vw,2.4rem);line-height:1.15;margin:.2em 0 .4em;letter-spacing:-.02em}
h2{font-size:1.4rem;line-height:1.25;margin:3rem 0 .6rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:0 0 .6rem;overflow-wrap:anywhere}
p{margin:.5em 0 1em;max-width:46rem;overflow-wrap:anywhere}
.lead{font-size:1.12rem}
.note{color:var(--quiet);font-size:.92rem}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:4px}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0;margin:0 0 1.5rem;
font-size:.95rem}
.grid{display:grid;gap:1rem;margin:1rem 0;
grid-template-columns:repeat(auto-fill,minmax(min(100%,19.5rem),1fr))}
.two{grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr))}
.card,.item{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;
min-width:0}
.card>:last-child,.item>:last-child{margin-bottom:0}
.item{margin:1.5rem 0;padding:1.25rem}
.item h2{margin-top:0}
.strong{border:2px solid var(--accent)}
audio{display:block;width:100%;height:44px;margin:.25rem 0 .75rem}
picture,img{display:block;max-width:100%}
img{width:100%;height:auto;border-radius:6px}
.facts{display:grid;gap:.7rem 1.25rem;margin:1rem 0;
grid-template-columns:repeat(auto-fill,minmax(min(100%,9.5rem),1fr))}
.tiles{display:grid;gap:1rem;margin:1.5rem 0;
grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr))}
.tiles div{display:flex;flex-direction:column-reverse;justify-content:flex-end;
background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.9rem 1rem}
.tiles dd{font-size:clamp(1.15rem,4.5vw,1.5rem);font-weight:650;line-height:1.25;
letter-spacing:-.01em}
dt{color:var(--quiet);font-size:.85rem;line-height:1.35;overflow-wrap:anywhere}
dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;width:fit-content;min-width:min(100%,32rem);max-width:100%;
background:var(--card);border:1px solid var(--line);border-radius:12px;margin:1rem 0;
padding:.25rem 1rem .5rem}
table{border-collapse:collapse;width:100%;font-size:.95rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--quiet);font-size:.9rem;padding:.6rem 0}
th,td{text-align:left;padding:.45rem 1.5rem .45rem 0;border-top:1px solid var(--line);
font-weight:400;vertical-align:top}
thead th{color:var(--quiet);font-size:.85rem;line-height:1.35;border-top:0;vertical-align:bottom}
tbody th{font-weight:600}
tbody th,td:not(.number){min-width:7.5rem;overflow-wrap:anywhere}
.number{white-space:nowrap}
.track{display:block;width:min(24rem,32vw);padding-top:.4rem}
.bar{display:block;height:.7rem;border-radius:4px;background:var(--bar);min-width:2px}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--accent);padding:.35rem 0}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;
white-space:pre-wrap;overflow-wrap:anywhere;
font:.85rem/1.5 ui-monospace,"SF Mono","DejaVu Sans Mono",monospace}
.lyrics{margin:.2em 0;line-height:1.9}
.lyrics span{padding:.1em .25em;border-radius:4px;background:color-mix(in srgb,var(--bar)
calc(var(--attention,0)*100%),transparent)}
.sung{text-decoration:underline;text-decoration-thickness:2px}
@media print{audio,nav{display:none}body{background:#fff}.item,.card{break-inside:avoid}}
"""
