"""What a user may name, and what is said about what is not there. Nothing named is ever imported."""

from __future__ import annotations

import sys

import pytest
from warmline_toolkit.errors import UsageError
from warmline_toolkit.lab.handler import find_handler

RAISES = "raise RuntimeError('imported')\n"


@pytest.fixture
def tree(tmp_path):
    files = {
        "app.py": RAISES + "def handler(event, context): ...\ndef other(event, context): ...",
        "aws.py": RAISES + "def lambda_handler(event, context): ...",
        "guarded.py": "try:\n    import fast\nexcept ImportError:\n    def handler(event, context): ...",
        "star.py": "from elsewhere import *",
        "named.py": "handler = make()",
        "none.py": "def run(event, context): ...",
        "broken.py": "def handler(:\n",
        "package/__init__.py": RAISES,
        "package/deep/__init__.py": RAISES,
        "package/deep/api.py": RAISES + "def handler(event, context): ...",
        "src/app.py": "def handler(event, context): ...",
        "index.mjs": "",
        "web/index.js": "",
        "types.ts": "",
        "two.dots.py": "def handler(event, context): ...",
        "time.py": "def handler(event, context): ...",
    }
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    ("named", "runtime", "root", "name"),
    [
        ("app.py", "python", ".", "app.handler"),
        ("app.py:other", "python", ".", "app.other"),
        ("./src/app.py", "python", "src", "app.handler"),
        ("aws.py", "python", ".", "aws.lambda_handler"),
        ("guarded.py", "python", ".", "guarded.handler"),
        ("star.py:anything", "python", ".", "star.anything"),
        ("named.py", "python", ".", "named.handler"),
        ("app.handler", "python", ".", "app.handler"),
        ("package.deep.api.handler", "python", ".", "package.deep.api.handler"),
        ("package/deep/api.handler", "python", ".", "package.deep.api.handler"),
        ("package/deep/api.py", "python", ".", "package.deep.api.handler"),
        ("index.mjs", "node", ".", "index.handler"),
        ("web/index.js:main", "node", "web", "index.main"),
        ("web/index.handler", "node", "web", "index.handler"),
    ],
)
def test_every_form_finds_its_handler_without_importing_it(tree, named, runtime, root, name):
    before = set(sys.modules)
    found = find_handler(named, base=tree)
    assert (found.runtime, found.task_root, found.name) == (runtime, (tree / root).resolve(), name)
    assert not {"app", "aws", "package", "package.deep"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("nothing.py", "no file"),
        ("nothing.handler", "no module 'nothing'"),
        ("package.nothing.handler", "no module 'nothing'"),
        ("app.py:nothing", "no 'nothing'"),
        ("app.nothing", "no 'nothing'"),
        ("none.py", "neither 'handler' nor 'lambda_handler'"),
        ("broken.py", "line 1"),
        ("package", "folder"),
        ("types.ts", "TypeScript"),
        ("two.dots.py", "dot in its name"),
        ("time.py", "built into Python"),
        ("time.handler", "built into Python"),
        ("handler", "does not name a handler"),
        ("", "does not name a handler"),
        ("app.py:", "without a name"),
        ("nothing.mjs", "no file"),
    ],
)
def test_what_is_not_there_is_a_usage_error_with_a_next_step(tree, named, says):
    with pytest.raises(UsageError, match=says) as caught:
        find_handler(named, base=tree)
    assert caught.value.exit_code == 2
    assert caught.value.code == "WL-L001"
    assert caught.value.next_step


def test_the_functions_that_are_there_are_named(tree):
    with pytest.raises(UsageError, match="handler, other"):
        find_handler("app.py:nothing", base=tree)
