"""Work in a child process, tried in a process of its own: forking belongs where no threads are."""

import subprocess
import sys

from tests.servers import ROOT


def run(work: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import sys
from repositories.child_process import ChildFailed, in_child
{work}
try:
    print("returned", in_child(work))
except ChildFailed as error:
    print("failed", error)
print("json" in sys.modules)
"""
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)


def test_what_the_work_returns_comes_back_and_what_it_imports_does_not() -> None:
    result = run("def work():\n    import json\n    return json.dumps(['x' * 100_000])")

    assert result.stdout == f'returned ["{"x" * 100_000}"]\nFalse\n'


def test_an_expected_failure_is_its_message_alone() -> None:
    result = run("def work():\n    raise ChildFailed('too late')")

    assert (result.stdout, result.stderr) == ("failed too late\nFalse\n", "")


def test_an_unexpected_failure_leaves_its_traceback() -> None:
    result = run("def work():\n    raise KeyError('x')")

    assert result.stdout == "failed KeyError: 'x'\nFalse\n"
    assert "Traceback" in result.stderr


def test_a_child_that_is_killed_is_a_failure() -> None:
    result = run("def work():\n    import os\n    os.kill(os.getpid(), 9)")

    assert result.stdout.startswith("failed The child process ended with status 9")
