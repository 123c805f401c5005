"""glassmap plans the experiments of an alloy campaign and maps where metallic glass forms.

This folder gives the packages beside it one import name: `glassmap.agent` is the folder `agent`, through a link.
"""

from importlib.metadata import version

__version__ = version("glassmap")
