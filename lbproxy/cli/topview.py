"""CONTROL. The screen of ``lbproxy top``: its content at a given size, and the effect of keys."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lbproxy.cli.tables import bytes_, since
from lbproxy.cli.topcolumns import VIEWS, Row, rate_text, seconds_text
from lbproxy.observe.recent import Recent, ended, failed

__all__ = ["TopView"]

_ORDER = {"down": 0, "drain": 1, "maint": 2, "up": 3}

_HELP = (
    ("q", "quit"),
    ("tab, 1, 2, 3", "servers, backends, frontends"),
    ("s", "next column to sort by"),
    ("r", "reverse the order"),
    ("/", "filter by name or state"),
    ("arrows, page up, page down", "scroll"),
    ("p", "pause"),
    ("?", "this help"),
)


@define
class TopView:
    """The view. ``kind``: selected table. ``sort``: column, -1 for the order of the configuration.
    ``typing``: the filter is being edited. ``trouble``: why no state arrives, "" if it does.
    """

    recent: Recent = field(factory=Recent)
    kind: str = "servers"
    sort: int = -1
    down: bool = True
    filter: str = ""
    typing: bool = False
    top: int = 0
    paused: bool = False
    help: bool = False
    trouble: str = "connecting"
    page: int = 10
    over: bool = False

    def key(self, row: Row) -> str:
        """Return the name of a row in the state."""
        return f"{row['backend']}/{row['name']}" if self.kind == "servers" else str(row["name"])

    def news(self, state: Row) -> None:
        """Process a new state."""
        self.trouble = ""
        if not self.paused:
            self.recent.add(state)

    # -- keys -----------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Handle a character, or the name of a key: up, down, pageup, pagedown, home, enter,
        escape, backspace, tab.
        """
        if self.typing:
            self._write(key)
            return
        kinds = list(VIEWS)
        if key in ("q", "\x03"):
            self.over = True
        elif key == "tab":
            self._turn(kinds[(kinds.index(self.kind) + 1) % len(kinds)])
        elif key in ("1", "2", "3"):
            self._turn(kinds[int(key) - 1])
        elif key == "s":
            self.sort = (self.sort + 2) % (len(VIEWS[self.kind]) + 1) - 1
            self.down = self.sort >= 0 and VIEWS[self.kind][self.sort].number
        elif key == "r":
            self.down = not self.down
        elif key == "/":
            self.typing = True
        elif key == "escape":
            self.filter, self.help = "", False
        elif key == "p":
            self.paused = not self.paused
        elif key == "?":
            self.help = not self.help
        else:
            steps = {
                "up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self.page, "pagedown": self.page,
                "home": -(10**9), "end": 10**9,
            }  # fmt: skip
            self.top = max(0, self.top + steps.get(key, 0))

    def _turn(self, kind: str) -> None:
        self.kind, self.sort, self.top = kind, -1, 0

    def _write(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter = (self.filter + key)[:60]
        self.top = 0

    # -- the screen -----------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return the rows that match the filter, sorted."""
        rows: list[Row] = list(self.recent.now[self.kind].values())
        if self.filter:
            wanted = self.filter.lower()
            rows = [
                row for row in rows if wanted in f"{self.key(row)} {row.get('state', '')}".lower()
            ]
        if self.sort >= 0:
            column = VIEWS[self.kind][self.sort]

            def order(row: Row) -> Any:
                value = column.value(self, row)
                if column.title == "state":
                    return _ORDER.get(value, 9)
                return (value is not None, value if value is not None else 0)

            rows.sort(key=order, reverse=self.down)
        return rows

    def screen(self, width: int, height: int) -> RenderableType:
        """Return the whole screen, at most ``height`` lines."""
        if not self._started:
            return Group(Text(self.trouble or "waiting"), self._foot(0))
        head = [self._head(), self._totals(), *self._alerts()]
        if self.help:
            return Group(
                *head, *(Text(f"  {keys:28}{what}") for keys, what in _HELP), self._foot(0)
            )
        room = max(1, height - len(head) - 3)
        self.page = room
        rows = self.rows()
        self.top = max(0, min(self.top, len(rows) - room))
        table = self._table(rows[self.top : self.top + room], width)
        return Group(*head, table, self._foot(len(rows)))

    @property
    def _started(self) -> bool:
        return bool(self.recent._moments)

    def _missing(self) -> int:
        """Return the number of servers in large backends, which the state omits."""
        now = self.recent.now
        total: int = sum(one["servers"] for one in now["backends"].values())
        return total - len(now["servers"])

    def _head(self) -> Text:
        now = self.recent.now
        process = now["process"]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"lbproxy {process['version']}", "bold")
        text.append(f"  {process['config']}  up {since(now['at'] - process['started'])}  ")
        if self.trouble:
            text.append(f" {self.trouble} ", "reverse red")
        elif self.paused:
            text.append(" paused ", "reverse")
        return text

    def _totals(self) -> Text:
        recent, now = self.recent, self.recent.now
        names = list(now["frontends"])
        speeds = [recent.rate("frontends", name, ended) or 0.0 for name in names]
        errors = [recent.rate("frontends", name, failed) or 0.0 for name in names]
        total = sum(speeds)
        share = sum(errors) / total if total else 0.0
        quantiles = [
            recent.quantile("frontends", names, "request_seconds", q) for q in (0.5, 0.95, 0.99)
        ]
        backends = now["backends"].values()
        up, of = sum(one["up"] for one in backends), sum(one["servers"] for one in backends)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{rate_text(total)} req/s  ", "bold")
        text.append(f"{share:.2%} failed  ", "red" if share > 0.05 else "")
        text.append("p50 {} p95 {} p99 {}  ".format(*map(seconds_text, quantiles)))
        text.append(f"servers {up}/{of}  ", "yellow" if up < of else "")
        process = now["process"]
        text.append(
            f"conns {process['connections']:,}  waiting {sum(one['waiting'] for one in backends)}  "
            f"late {seconds_text(process['lag_s'])}  {bytes_(process['resident_bytes'])}B"
        )
        return text

    def _alerts(self) -> list[Text]:
        firing = list(self.recent.now.get("alerts", {}).get("firing", {}).values())
        lines = [
            Text(f"! {one['name']}: {one['text']}",
                "bold red" if one["severity"] == "error" else "yellow",
                 no_wrap=True, overflow="ellipsis")
            for one in firing[:3]
        ]  # fmt: skip
        if len(firing) > 3:
            lines.append(Text(f"! and {len(firing) - 3} more alerts", "yellow"))
        return lines

    def _table(self, rows: list[Row], width: int) -> Table:
        """Return the table, with as many columns as fit, and always the first two."""
        table = Table(
            expand=True, box=None, pad_edge=False, header_style="reverse", show_edge=False
        )
        columns = VIEWS[self.kind]
        cells = [
            [(c.text(v), c.style(v)) for c in columns for v in [c.value(self, row)]] for row in rows
        ]
        used, shown = 0, 0
        for at, column in enumerate(columns):
            title = f"{column.title}{('▾' if self.down else '▴') if at == self.sort else ''}"
            last = at == len(columns) - 1
            wide = max([len(title), *(len(line[at][0]) for line in cells)])
            need = min(wide, 12) if last else min(wide, 40)
            if at > 1 and used + need > width:
                break
            used += need + 2
            shown += 1
            table.add_column(
                title,
                justify="right" if column.number else "left",
                no_wrap=True,
                overflow="ellipsis",
                min_width=need if used <= width else None,
                max_width=None if last else 40,
                ratio=1 if last else None,
            )
        for line in cells:
            table.add_row(*(Text(text, style) for text, style in line[:shown]))
        return table

    def _foot(self, rows: int) -> Text:
        if self.typing:
            return Text(f"filter: {self.filter}_   enter: done, escape: none", "reverse")
        if self.help:
            return Text("? back to the table   q quit", "reverse")
        words = f"{self.kind} {min(self.top + 1, rows)}-{min(self.top + self.page, rows)} of {rows}"
        if self.filter:
            words += f"   filter {self.filter!r}"
        missing = self._missing() if self.kind == "servers" and self._started else 0
        if missing:
            words += f"   {missing:,} in large backends are omitted: lbproxy servers"
        return Text(
            f"{words}   q quit  tab view  s sort  r reverse  / filter  ? help",
            "reverse", no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
