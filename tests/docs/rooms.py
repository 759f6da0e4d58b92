"""Draws ``docs/developer/rooms.svg``: the rooms of ``gateway/`` on the floors that
``pyproject.toml`` gives them, and the imports between them. ``scripts/reference`` runs it; a test
holds that the picture is the code's.

An arrow that a chain of others implies is left out; where a room imports another, a way of arrows
leads from it to the other.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grimp

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "developer" / "rooms.svg"
WIDTH: Final = 960
BOX: Final = (132, 34)
"""Width and height of a room, in pixels."""
FLOOR: Final = 62
"""Pixels from one floor to the next."""


def floors() -> tuple[tuple[str, ...], ...]:
    """From the top down, as the layers contract says."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    contract = next(c for c in tools["importlinter"]["contracts"] if c["type"] == "layers")
    return tuple(
        tuple(room.strip() for room in layer.replace(":", "|").split("|"))
        for layer in contract["layers"]
    )


def imports() -> dict[str, set[str]]:
    """For each room, those that it imports; imports for types count."""
    graph = grimp.build_graph("gateway", cache_dir=None)
    rooms: dict[str, set[str]] = {room: set() for floor in floors() for room in floor}
    for module in graph.modules:
        importer = module.split(".")[1:2]
        for imported in graph.find_modules_directly_imported_by(module):
            room = imported.split(".")[1:2]
            if importer and room and importer != room:
                rooms[importer[0]].add(room[0])
    return rooms


def arrows(rooms: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Those that no chain of others implies."""
    below: dict[str, set[str]] = {}

    def reached(room: str) -> set[str]:
        if room not in below:
            below[room] = set().union(*({other} | reached(other) for other in rooms[room]))
        return below[room]

    return [
        (room, other)
        for room in rooms
        for other in sorted(rooms[room])
        if not any(other in reached(step) for step in rooms[room] - {other})
    ]


def picture() -> str:
    """The SVG's text."""
    levels, rooms = floors(), imports()
    places = {
        room: (WIDTH * (column + 1) / (len(floor) + 1), 40 + FLOOR * row)
        for row, floor in enumerate(levels)
        for column, room in enumerate(floor)
    }
    width, height = BOX
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
            f'{40 + FLOOR * len(levels)}" font-family="sans-serif" font-size="14">'
        ),
        "<title>Rooms of gateway/ and their imports</title>",
        f'<rect width="{WIDTH}" height="{40 + FLOOR * len(levels)}" fill="#fff"/>',
        (
            '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#58667a"/></marker>'
            "</defs>"
        ),
    ]
    for number, (room, other) in enumerate(arrows(rooms)):
        (x1, y1), (x2, y2) = places[room], places[other]
        # Side by side, so that arrows over several floors do not hide behind the boxes between.
        floors_between = round((y2 - y1) / FLOOR)
        bend = 0 if floors_between < 2 else (-1) ** number * (width * 0.75 + 14 * (number % 5))
        top, bottom = y1 + height / 2, y2 - height / 2
        lines.append(
            f'<path d="M{x1:.0f} {top:.0f}C{x1 + bend:.0f} {top + 30:.0f} {x2 + bend:.0f} '
            f'{bottom - 30:.0f} {x2:.0f} {bottom:.0f}" fill="none" stroke="#8a97a8" '
            'marker-end="url(#end)"/>'
        )
    for room, (x, y) in places.items():
        lines += [
            (
                f'<rect x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width}" '
                f'height="{height}" rx="6" fill="#eef3fa" stroke="#3f5f8a"/>'
            ),
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="#14243a">{room}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
