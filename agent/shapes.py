"""The one place where the shape of a NumPy array is spelled, and the name of the axis that spectra are on.

Letters: n compositions, e elements, q points of a spectrum, m members, b batch, g grid alloys.
Files that use torch spell their tensors at the function, so that this file never imports torch.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

AxisName = Literal["q", "two_theta", "r"]  # 1/Å, degrees, Å

Composition = Float[np.ndarray, " e"]  # one composition: atomic fraction, sums to 1
Compositions = Float[np.ndarray, "n e"]  # atomic fraction; every row sums to 1
OwnCompositions = Float[np.ndarray, "n o"]  # over some of the elements alone; every row sums to 1
BatchCompositions = Float[np.ndarray, "b e"]  # atomic fraction; the alloys planned together
CandidateCompositions = Float[np.ndarray, "c e"]  # atomic fraction; the only alloys that may be planned
CoverCompositions = Float[np.ndarray, "v e"]  # atomic fraction; what is to lie near a measured alloy
TakenCompositions = Float[np.ndarray, "t e"]  # atomic fraction; what is measured, pending or rejected
Parts = Integer[np.ndarray, "n e"]  # integer parts of 1/step; every row sums to 100/step
Ranks = Integer[np.ndarray, " n"]  # number of an alloy within its space
Rows = Integer[np.ndarray, " b"]  # rows of a candidate list
Neighbours = Integer[np.ndarray, "n k"]  # rows of the nearest others, the nearest first
Distances = Float[np.ndarray, "n k"]  # from each to its nearest others, the nearest first
WaferDistances = Float[np.ndarray, "w n"]  # from each of what is to be covered to the nearest point of each wafer
Groups = Integer[np.ndarray, " n"]  # which of the distinct alloys each sample is of
Codes = Integer[np.ndarray, " n"]  # why each has no first peak, as an index of the reasons
Mask = Bool[np.ndarray, " n"]
Weights = Float[np.ndarray, " n"]
Axis = Float[np.ndarray, " q"]  # 2θ in degrees, q in 1/Å or r in Å; strictly increasing
PerPoint = Float[np.ndarray, " q"]  # a figure at each point of the axis
Spectrum = Float[np.ndarray, " q"]  # intensity, 0-100 once prepared
Spectra = Float[np.ndarray, "n q"]  # intensity, 0-100 once prepared
MemberSpectra = Float[np.ndarray, "n m q"]  # of several members of an ensemble
ScanAxis = Float[np.ndarray, " p"]  # as Axis, as an instrument measured it
Scan = Float[np.ndarray, " c"]  # intensity as measured, any unit; c = p, which only a check at run time can refuse well
Scans = Float[np.ndarray, "n c"]
ScanColumns = Float[np.ndarray, "p k"]  # of a file of text: a row a line, NaN in an empty cell
RadialAxis = Float[np.ndarray, " r"]  # Å, centres of the bins of a g(r)
RadialValues = Float[np.ndarray, " r"]  # g(r)
FineRdf = Float[np.ndarray, " fine"]  # r in Å, or g(r), in the bins of a simulation
PartialRdfs = Float[np.ndarray, "pairs r"]
FormFactors = Float[np.ndarray, "e q"]  # electrons
Numbers = Float[np.ndarray, "..."]  # of a dataset of a file, any shape
Table = Float[np.ndarray, " t"]  # of a potential: density or energy against density or distance
GridSpectra = Float[np.ndarray, "g q"]  # of the alloys of GridCompositions
GridCompositions = Float[np.ndarray, "g e"]  # atomic fraction; the alloys of a map
PerAlloy = Float[np.ndarray, " g"]
PerSample = Float[np.ndarray, " n"]
PerCandidate = Float[np.ndarray, " c"]  # of the alloys of CandidateCompositions
PerGun = Float[np.ndarray, " g"]  # a figure of each sputter gun, as its power in W
PerTaken = Float[np.ndarray, " t"]  # of the alloys of TakenCompositions
ModelInputs = Float[np.ndarray, "n i"]  # atomic fractions, and an encoded context behind them
EncodedContext = Float[np.ndarray, "n c"]  # process variables as numbers; usual samples that differ are about 1 apart
Place = Float[np.ndarray, " 3"]  # x, y, z in mm; or a direction
GunPowers = Float[np.ndarray, "p g"]  # W, of each gun of each wafer
GunRates = Float[np.ndarray, "p g k"]  # nm/min of each gun at each point of each wafer
GunShares = Float[np.ndarray, "g k"]  # of each gun at each point, over what it gives at the centre
WaferPoints = Float[np.ndarray, " k"]  # x or y of points of a wafer, mm
WaferCompositions = Float[np.ndarray, "p k e"]  # atomic fraction, of each point of each wafer
WaferThickness = Float[np.ndarray, "p k"]  # nm, of each point of each wafer
WaferMinutes = Float[np.ndarray, " p"]  # of deposition, of each wafer
GunFigures = Float[np.ndarray, " h"]  # what is fitted of all guns, gun by gun
GunFiguresCovariance = Float[np.ndarray, "h h"]
PerWafer = Float[np.ndarray, " p"]  # a figure of each wafer
GunFactors = Float[np.ndarray, "p g"]  # of each gun on each wafer
Residuals = Float[np.ndarray, " f"]  # of a fit, in standard deviations
