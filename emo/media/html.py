"""Self-contained HTML pages: tables and images."""

import base64
import html
from collections.abc import Iterable
from urllib.parse import quote

import cv2
import numpy as np

THUMBNAIL_PIXELS = 96
STYLE = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{text-align:left;padding:.1em 1em .1em 0}"
STYLE += "figure{display:inline-block;margin:0 2em 1em 0}.sheet img{margin:1px}svg text{font-size:11px}"


def render_page(title: str, parts: Iterable[str]) -> str:
    """Return a complete HTML file.

    Args:
        title: Title of the page, plain text.
        parts: Pieces of HTML, one after another.

    Returns:
        The HTML text.
    """
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return head + "".join(parts)


def render_table(title: str, rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    """Return a table with a title.

    Args:
        title: Title of the table, plain text.
        rows: Rows of plain text.
        head: Names of the columns.

    Returns:
        HTML text.
    """
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<h2>{html.escape(title)}</h2><table><tr>{names}</tr>{cells}</table>"


def embed_jpeg(data: bytes, title: str) -> str:
    """Return an image inside the page, with a tooltip.

    Args:
        data: Content of a JPEG file.
        title: Text of the tooltip.

    Returns:
        HTML text.
    """
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/jpeg;base64,{encoded}" title="{html.escape(title)}" alt="">'


def embed_thumbnail(frame: np.ndarray, title: str) -> str:
    """Return a frame as a small square image inside the page, with a tooltip.

    Args:
        frame: (H W 3) uint8 RGB.
        title: Text of the tooltip.

    Returns:
        HTML text.
    """
    small = cv2.resize(frame, (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return embed_jpeg(encoded.tobytes(), title)


def embed_video(source: str, width: int) -> str:
    """Return a video with controls that is played from its own file.

    Args:
        source: Path of the file from the folder of the page, with / between folders.
        width: Width on the page, pixels.

    Returns:
        HTML text.
    """
    return f'<video controls preload="metadata" width="{width}" src="{html.escape(quote(source))}"></video>'
