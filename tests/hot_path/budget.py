"""The budget file, and the comparison of what is counted with it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.hot_path.paths import HOT_PATHS, Figures

FILE = Path(__file__).parent.parent / "data" / "hot_path_budget.toml"
REWRITE = "UNICHAT_REWRITE_BUDGET"
HOW = f"""If that is meant, write {FILE.name} anew, and say why in the commit:
{REWRITE}=1 uv run --python 3.11 pytest tests/hot_path
What has become less must be written down too, so that it stays so."""
# In which the Pythons differ: counted on the one that the budget was written on.
_FOR_PEOPLE = "calls_of"
OF_THE_PYTHON = ("calls", "switches", "copies")
Budget = dict[str, dict[str, dict[str, Figures]]]  # setup -> hot path -> of what -> figures

_TITLES = {"sqlite": "UniChat as it comes: SQLite.", "mariadb": "With MariaDB and Redis."}
_HEAD = """\
# What one request and one event cost, counted: docs/development.md says how, and how to write this file anew.
#
# statements, commits, rollbacks  what the database is asked
# database_sends, thread_hops     messages to MariaDB; what the event loop gives to SQLite's threads
# redis_sends, redis_commands     messages to Redis; what Redis does for them, inside scripts too
# provider_*, client_*            messages to a socket, and reads from it
# json                            values encoded and decoded
# log_lines, greenlets, switches  lines of log; greenlets started; switches between them
# calls, calls_of                 functions called, of Python and of C, by the event loop's thread, and whose code it is
#                                 that calls them: this is for people, and not compared
# copies                          how often a byte of a long answer is written to memory anew
"""


def read() -> tuple[str, Budget]:
    """The version of Python that it was written on, and the budget."""
    if not FILE.exists():
        return "", {}
    found = tomllib.loads(FILE.read_text())
    return found.pop("python"), found


def write(python: str, budget: Budget) -> None:
    """Put it down."""
    FILE.write_text("\n".join(_lines(python, budget)) + "\n")


def _lines(python: str, budget: Budget) -> Iterator[str]:
    yield f'{_HEAD}\npython = "{python}"  # the one whose calls and copies these are'
    for setup, title in _TITLES.items():
        yield f"\n# {title}"
        for path in (path for path in HOT_PATHS if path in budget.get(setup, {})):
            yield f"\n# {HOT_PATHS[path].title}"
            for what, figures in budget[setup][path].items():
                yield f"[{setup}.{path}.{what}]"
                for name, value in figures.items():
                    yield f"{name} = {_inline(value) if isinstance(value, dict) else _rounded(value)}"


def _inline(calls: dict[str, int]) -> str:
    most_first = sorted(calls.items(), key=lambda item: -item[1])
    return f"{{{', '.join(f'{package} = {number}' for package, number in most_first)}}}"


def _rounded(value: float) -> str:
    return f"{round(value, 1):.1f}".removesuffix(".0")


def faults(title: str, budget: Figures, counted: Figures, leave_out: tuple[str, ...] = ()) -> list[str]:
    """What is more or less than the budget says, in words; ``title`` is of what."""
    is_turn, of_request = "turn" in title, "request" in title
    found = []
    for name in dict.fromkeys([*budget, *counted]):
        if name in (*leave_out, _FOR_PEOPLE):
            continue
        most, now = budget.get(name, 0), counted.get(name, 0)
        if abs(now - most) > _leeway(name, most, is_turn=is_turn, of_request=of_request):
            found.append(f"{title}: {name} {_rounded(now)}, {_told(now - most)} than the budget")
            if name == "calls":
                found.append(f"  of them {_inline(counted[_FOR_PEOPLE])}; before {_inline(budget[_FOR_PEOPLE])}")
    return found


def _told(difference: float) -> str:
    return f"{_rounded(abs(difference))} {'more' if difference > 0 else 'less'}"


def _leeway(name: str, budget: float, *, is_turn: bool, of_request: bool) -> float:
    """How far from the budget is still the same."""
    match name:
        case "calls":
            return max(4, 0.01 * budget)
        case "switches":
            return 6  # an answer of a thread may be there already
        case "redis_sends" | "client_sends" | "json" if is_turn:
            return 1 if of_request else 0.5  # a timer says which of its events go together
        case "redis_commands" if is_turn:
            return 8
        case "copies":
            return 0.1 * budget if is_turn else 0.3  # a timer says how many events are one text
        case _:
            return 0.25  # what a timer adds to one event of many
