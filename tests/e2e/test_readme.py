"""The README's lines, run as they are written: only the port and the pasted token differ."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import NodeFactory
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import ROOT

_HEADINGS = {"README.md": "## Chat", "README.zh-CN.md": "## 开始聊天"}


def _lines(readme: str, node: Node) -> str:
    """The shell lines of the README's chat section, for ``node``."""
    section = (ROOT / readme).read_text().split(_HEADINGS[readme])[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    token = re.search(r"Setup token (\S+)", node.log())
    assert token, node.log()
    # What each command printed is kept apart, as a person sees it.
    script = "\necho; echo ---\n".join(["set -eu", *blocks])
    script = re.sub(r"^SETUP_TOKEN=.*$", f"SETUP_TOKEN={token[1]}", script, flags=re.MULTILINE)
    return script.replace("localhost:3000", f"127.0.0.1:{node.port}")


def _run(script: str, folder: Path) -> list[str]:
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [part.strip() for part in done.stdout.split("---")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("readme", _HEADINGS)
def test_the_lines_of_the_readme_work_when_pasted(readme: str, start_node: NodeFactory, tmp_path: Path) -> None:
    node = start_node().wait_ready()

    _, _, setup, login, whole, stream, sessions, key, by_key = _run(_lines(readme, node), tmp_path)

    assert json.loads(setup)["data"]["user"]["username"] == "ada"
    assert login == ""
    assert json.loads(whole)["data"]["message"]["status"] == "completed"
    assert '"type":"start"' in stream
    assert stream.splitlines()[-1].startswith('data: {"type":"complete"')
    assert len(json.loads(sessions)["data"]["items"]) == 2
    assert key == ""
    assert json.loads(by_key)["data"]["message"]["status"] == "completed"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", ["openai", "qwen", "dify"])
def test_the_same_lines_reach_a_provider_over_http_once_it_has_a_key(
    name: str, start_node: NodeFactory, tmp_path: Path
) -> None:
    with ScriptedProvider.start() as provider:
        urls = {"openai": provider.openai_url, "qwen": provider.dashscope_url, "dify": provider.dify_url}
        key, url = f"{name.upper()}_API_KEY", f"{name.upper()}_BASE_URL"
        node = start_node(**{key: "x", url: urls[name], "AUTO_TITLE": "false"}).wait_ready()

        *_, whole, stream, _, _, by_key = _run(_lines("README.md", node), tmp_path)

        assert json.loads(whole)["data"]["message"]["provider"] == name
        assert f'"provider":"{name}"' in stream
        assert json.loads(by_key)["data"]["message"]["provider"] == name
        assert [entry["end"] for entry in provider.log()] == ["complete"] * 3
