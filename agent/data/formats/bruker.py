"""Files of Bruker's older programs."""

from glassmap.agent.data.formats.parts import Format

FORMATS: tuple[Format, ...] = ()
