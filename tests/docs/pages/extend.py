"""The page's backend lies where Python finds it, and what the page puts into lists is taken out again."""

import sys
from pathlib import Path

from glassmap.agent.config.backends import BACKENDS
from glassmap.agent.models.base_models import BASE_MODELS
from glassmap.agent.planning.acquisition import RULES
from tests.docs.blocks import PAGES, Page, Reader, blocks_of

LISTS = {"furnace": BACKENDS, "inverse": BASE_MODELS, "frugal": RULES}


def prepare(folder: Path) -> None:
    blocks = [block.text for block in blocks_of(PAGES["extend.md"].read_text())]
    (folder / "furnace.py").write_text(next(text for text in blocks if text.startswith('"""A made-up furnace')))
    sys.path.insert(0, str(folder))


def check(reader: Reader) -> None:
    assert reader.names["model"].stack.weights.keys() == BASE_MODELS.keys()
    assert reader.names["Campaign"]("campaigns/hot").status().state == "exhausted"


def restore() -> None:
    """Take the page's own out of the lists, however far the reader came."""
    for name, list_ in LISTS.items():
        list_.pop(name, None)
    sys.modules.pop("furnace", None)
    sys.path[:] = [path for path in sys.path if not (Path(path) / "furnace.py").exists()]


PAGE = Page(prepare, check=check, restore=restore)
