"""The optional parts of glassmap, and what is said where one is asked for that isn't installed."""

from importlib.util import find_spec
from typing import Literal

from glassmap.agent.errors import MissingExtra

Extra = Literal["flows", "dashboard", "dask", "http"]
_MODULES: dict[Extra, tuple[str, ...]] = {  # what each brings that nothing else does; see pyproject.toml
    "flows": ("prefect", "tzlocal"),
    "dashboard": ("streamlit", "plotly", "reportlab"),
    "dask": ("distributed", "cryptography"),
    "http": ("fastapi", "uvicorn"),
}


def require_extras(*extras: Extra, needed_for: str) -> None:
    """Refuse to go on without an optional part, before anything is begun; imports nothing.

    Args:
        extras: Which are needed.
        needed_for: What the user asked for, such as "`glassmap up`"; begins the message.

    Raises:
        MissingExtra: If a library of one of them is not installed; names the command that brings all.
    """
    missing = [module for extra in extras for module in _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"{needed_for} needs {', '.join(missing)}, which glassmap's core does without and which isn't installed. "
            f"Install it with `pip install 'glassmap[{','.join(extras)}]'`."
        )
