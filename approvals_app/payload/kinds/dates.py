"""When it happens: execution dates, scheduled runs and maintenance windows, wherever they stand.

A moment is read once and rated by the clock at each reading: a summary that is kept does not
freeze the time.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from approvals_app.payload.facts import (
    MOST_MEMBERS,
    Data,
    Fact,
    Level,
    Moment,
    Path,
    share_path,
)
from approvals_app.payload.kinds._amounts import name_set, normalize
from approvals_app.payload.kinds._payments import strip_prefix
from approvals_app.payload.walking import Names, walk

EXECUTIONS: Final = name_set(
    "executiondate requestedexecutiondate reqdexctndt valuedate executeat executedat executionat "
    "executiontime executeon executionday scheduledat scheduledfor scheduleddate scheduledtime "
    "scheduledon scheduledstart scheduleat scheduledatetime paymentdate paydate transferdate "
    "payoutdate arrivaldate chargedate reqdcolltndt collectiondate runat runon sendat sendafter "
    "deliverat deliverytime plannedfor plannedat planneddate plannedstart deployat "
    "golive goliveat golivedate notbefore changestart startsafter deletionat deleteat "
    "shutdownat terminateat maintenancedate changedate migrationdate cutoverat cutoverdate"
)
WINDOWS: Final = re.compile(r"window|maintenance|downtime|outage|freeze|blackout")
STARTS: Final = name_set("start starts startat startsat starttime startdate from begin begins")
ENDS: Final = name_set(
    "end ends endat endsat endtime enddate to until windowend maintenanceend changeend plannedend "
    "scheduledend"
)
OWN_STARTS: Final = name_set("windowstart maintenancestart")
OWN_ENDS: Final = name_set("windowend maintenanceend changeend plannedend scheduledend")
DUE: Final = EXECUTIONS | OWN_STARTS | OWN_ENDS
CALLED: Final = {"reqdexctndt": "execution date", "reqdcolltndt": "collection date"}
"""What a member is called whose name is no words."""
TEXTS: Final = ("Dt", "DtTm", "#text", "_", "dateTime", "date", "value")
"""The members in which converters of XML and APIs put the date."""
WRITTEN: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,]\d{1,9})?\s?"
    r"(Z|UTC|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE,
)
WEST: Final = timedelta(hours=12)
"""A day is over everywhere, and a time without an offset past, so much after it is in UTC."""


def may_read(names: Names) -> bool:
    """Whether one of a payload's names may be that of a date."""
    return not DUE.isdisjoint(names.plain) or bool(WINDOWS.search("\n".join(names.plain)))


@lru_cache(maxsize=4096)
def _choose_names(names: tuple[str, ...]) -> list[tuple[str, str, bool]]:
    """The members of an object that tell when, with their label and whether past is wrong.

    Without a label: a window with a start and an end.
    """
    plain = {normalize(strip_prefix(name)): name for name in names}
    has_end = not OWN_ENDS.isdisjoint(plain)
    return [
        (
            name,
            CALLED.get(each, _spell(name)) if each in DUE else "",
            each not in OWN_STARTS or not has_end,
        )
        for each, name in plain.items()
        if each in DUE or WINDOWS.search(each)
    ]


def find_moments(data: Any, path: Path = ()) -> list[Moment]:
    """All moments in ``data``, which stands at ``path``, in the order in which they stand."""
    moments: list[Moment] = []

    def visit(path: Path, each: Data) -> None:
        for name, label, is_due in _choose_names(tuple(each)):
            if label:
                _add(moments, label, each[name], (*path, name), is_due)
            elif isinstance(each[name], dict):
                _add_window(moments, name, each[name], (*path, name))

    walk(data, visit, path)
    return moments


def _add_window(moments: list[Moment], name: str, window: Data, path: Path) -> None:
    names = {normalize(each): each for each in window}
    ends = [each for plain, each in names.items() if plain in ENDS]
    for plain, each in names.items():
        if plain in STARTS or plain in ENDS:
            label = f"{_spell(name)} {'ends' if plain in ENDS else 'starts'}"
            _add(moments, label, window[each], (*path, each), plain in ENDS or not ends)


def _add(moments: list[Moment], label: str, value: Any, path: Path, is_due: bool) -> None:
    # Converters of XML write lists and objects where only one value stands.
    for _ in range(3):
        if isinstance(value, list) and value:
            value, path = value[0], (*path, 0)
        elif isinstance(value, dict):
            step = next((each for each in TEXTS if each in value), None)
            if step is None:
                return
            value, path = value[step], (*path, step)
    read = read_moment(value)
    if read is not None:
        text, at, over = read
        moments.append(Moment(label, text, path, at, over, is_due))


def read_moment(value: Any) -> tuple[str, date | None, datetime] | None:
    """How it is told, the moment or day, and when it is past for certain; None: it is no date.

    Reads ISO 8601 and seconds or milliseconds since 1970.
    """
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return _read_seconds(value)
        found = WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
        return _read_written(found) if found else None
    except (ValueError, OverflowError):  # 2026-13-45, and the last day that there is
        return None


def _read_seconds(value: int) -> tuple[str, date | None, datetime] | None:
    if 10**12 <= value < 10**13:
        value //= 1_000
    if not 10**9 <= value < 10**10:
        return None
    at = datetime.fromtimestamp(value, UTC)
    return _write(at), at, at


def _read_written(found: "re.Match[str]") -> tuple[str, date | None, datetime]:
    day, time, offset = found.groups()
    if time is None:
        whole = date.fromisoformat(day)
        end = datetime.combine(whole, datetime.min.time(), UTC) + timedelta(days=1)
        return day, whole, end + WEST
    if offset is None:
        naive = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
        return f"{day} {time}, time zone not said", None, naive + WEST
    zone = "+00:00" if offset.upper() in ("Z", "UTC") else offset
    if ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    at = datetime.fromisoformat(f"{day}T{time}{zone}").astimezone(UTC)
    return _write(at), at, at


def _write(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}" + (f":{at:%S}" if at.second else "") + " UTC"


def _spell(name: str) -> str:
    """``requested_execution_date`` and ``scheduledFor`` as words."""
    plain = strip_prefix(name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s-]+", " ", plain).strip().lower()[:40] or "date"


def describe_moments(moments: Sequence[Moment], now: datetime) -> list[Fact]:
    """The facts at ``now``: one for each name, of the first of several; what is past is danger."""
    groups: dict[tuple[str, bool], list[Moment]] = {}
    for each in moments:
        late = each.is_due and each.over <= now
        groups.setdefault((each.label, late), []).append(each)
    return [_describe(label, late, some) for (label, late), some in groups.items()]


def _describe(label: str, late: bool, moments: list[Moment]) -> Fact:
    first = min(moments, key=lambda each: each.over)
    different = len({each.text for each in moments})
    if late:
        label += " in the past"
    if different > 1:
        label += f", the first of {different:,}"
    level = Level.DANGER if late else Level.PLAIN
    if len(moments) == 1:
        return Fact(label, first.text, first.path, level, at=first.at)
    members = tuple(each.path for each in moments[:MOST_MEMBERS])
    path = first.path if different > 1 else share_path([each.path for each in moments])
    return Fact(label, first.text, path, level, members, first.at)
