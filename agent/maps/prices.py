"""What the elements cost in bulk, US dollars a kilogram: to tell expensive alloys from cheap ones.

Of the raw metal, as it is traded by the tonne; where a range was quoted, its middle. A sputtering target or a wire of
high purity costs many times as much, and prices have moved by factors since: `[wish.prices]` takes one's own.

Source: "Prices of chemical elements", Wikipedia, as of 8 September 2020. Prices of 2018 to 2020, but of barium (2016),
hafnium, mercury and thallium (2017), osmium (2016), thulium (2003) and thorium (2010).
"""

from collections.abc import Mapping

# fmt: off
PRICES_PER_KG: Mapping[str, float] = {
    "Li": 83.5, "Be": 857, "B": 3.68, "C": 0.122, "Na": 3.0, "Mg": 2.32, "Al": 1.79, "Si": 1.70, "P": 2.69,
    "S": 0.0926, "K": 12.9, "Ca": 2.28, "Sc": 3460, "Ti": 11.4, "V": 371, "Cr": 9.40, "Mn": 1.82, "Fe": 0.424,
    "Co": 32.8, "Ni": 13.9, "Cu": 6.00, "Zn": 2.55, "Ga": 148, "Ge": 962, "As": 1.15, "Se": 21.4, "Rb": 15_500,
    "Sr": 6.61, "Y": 31.0, "Zr": 36.4, "Nb": 73.5, "Mo": 40.1, "Ru": 10_500, "Rh": 147_000, "Pd": 49_500,
    "Ag": 521, "Cd": 2.73, "In": 167, "Sn": 18.7, "Sb": 5.79, "Te": 63.5, "Cs": 61_800, "Ba": 0.261, "La": 4.85,
    "Ce": 4.64, "Pr": 103, "Nd": 57.5, "Sm": 13.9, "Eu": 31.4, "Gd": 28.6, "Tb": 658, "Dy": 307, "Ho": 57.1,
    "Er": 26.4, "Tm": 3000, "Yb": 17.1, "Lu": 643, "Hf": 900, "Ta": 305, "W": 35.3, "Re": 3580, "Os": 12_000,
    "Ir": 55_850, "Pt": 27_800, "Au": 44_800, "Hg": 30.2, "Tl": 4200, "Pb": 2.00, "Bi": 6.36, "Th": 287, "U": 101,
}
# fmt: on
