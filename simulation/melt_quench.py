"""The protocol: melt, quench, relax, measure. Settings in, the text of a plain LAMMPS input out."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import periodictable

from glassmap.agent.data.composition import label
from glassmap.agent.errors import SimulationError
from glassmap.agent.shapes import Composition
from glassmap.simulation.potential import Potential
from glassmap.simulation.structure import RDF_BINS, pairs

MIN_ATOMS = 100  # fewer can't hold a g(r): the box would be as wide as a few atoms
MAX_TIME_STEP_FS = 10.0  # metals lose energy conservation from 6 fs on at 2000 K, and their atoms well before 50
MAX_STEPS = 10**9  # weeks, for a thousand atoms
MOST = {"atoms": 10**8, "hot": 1e7, "quench_rate": 1e19, "rdf_bins": 300_000, "rdf_cutoff": 100.0, "seed": 2**53 - 1}
BOX_MARGIN = 1.03  # of the box over the cutoff of g(r); mixing can make an alloy denser
SKIN = 1.0  # Å, of the neighbour lists; 0.5 to 1.0 is fastest
EXPANSION = 1.1  # of the volume at room temperature, for a start close to the melt's
CNA_FCC, CNA_BCC = 1.355, 1.521  # half-way to the next shell, in units of (volume / atom)^(1/3); fcc is hcp's too


@dataclass(frozen=True)
class MeltQuench:
    """How every alloy of a set is simulated, so that they can be compared.

    Source: Xie et al., npj Comput. Mater. (2025), "MD simulations"; the time step is ours.
    """

    atoms: int = 1000
    hot: float = 2000.0
    """K, of the melt."""
    cold: float = 300.0
    """K, of the glass."""
    melt_ps: float = 5.0
    quench_rate: float = 1e14
    """K/s."""
    relax_ps: float = 5.0
    time_step_fs: float = 3.0
    rdf_steps: int = 1000
    """Steps over which g(r) is averaged."""
    rdf_bins: int = 3000
    rdf_cutoff: float = 16.0
    """Å."""
    seed: int = 0
    """Decides, with the numbers of atoms, where atoms start and how fast: same seed, same g(r) to the bit."""

    def __post_init__(self) -> None:
        """Check every rule.

        Raises:
            SimulationError: If a setting breaks its rule.
        """
        rules = (
            *((field.name, math.isfinite(getattr(self, field.name)), "a finite number") for field in fields(self)),
            ("atoms", self.atoms >= MIN_ATOMS, f"{MIN_ATOMS} or more; 1000 is quick"),
            *((name, getattr(self, name) <= most, f"at most {most:g}") for name, most in MOST.items()),
            ("cold", 0 < self.cold < self.hot, f"above 0 K and below hot = {self.hot:g} K"),
            ("melt_ps", self.melt_ps > 0, "positive; 5 is quick"),
            ("quench_rate", self.quench_rate > 0, "positive, in K/s; 1e14 is the paper's"),
            ("relax_ps", self.relax_ps > 0, "positive; 5 is quick"),
            (
                "time_step_fs",
                0 < self.time_step_fs <= MAX_TIME_STEP_FS,
                f"above 0 and at most {MAX_TIME_STEP_FS:g} fs, or atoms pass through each other; 2 to 3 is safe",
            ),
            ("rdf_steps", self.rdf_steps >= 100 and self.rdf_steps % 10 == 0, "a multiple of 10, 100 or more"),
            (
                "rdf_bins",
                self.rdf_bins > 0 and self.rdf_bins % RDF_BINS == 0,
                f"a multiple of {RDF_BINS}; 3000 is the paper's",
            ),
            ("rdf_cutoff", self.rdf_cutoff >= 10, "10 Å or more, where g(r) has come to 1; 16 is the paper's"),
            ("seed", self.seed >= 0, "0 or more"),
        )
        for name, kept, rule in rules:
            if not kept:
                raise SimulationError(f"{name} must be {rule}; got {getattr(self, name):g}.")
        if self.steps > MAX_STEPS:
            raise SimulationError(
                f"A protocol may take {MAX_STEPS:g} steps at most, got {self.steps:g}. Take a faster quench_rate, "
                "shorter times or a longer time_step_fs."
            )

    @property
    def stage_steps(self) -> tuple[int, int, int, int]:
        """Steps of melting, quenching, relaxing and measuring."""
        step_ps = self.time_step_fs / 1000
        quench_ps = (self.hot - self.cold) / (self.quench_rate * 1e-12)
        melt, quench, relax = (max(1, round(ps / step_ps)) for ps in (self.melt_ps, quench_ps, self.relax_ps))
        return melt, quench, relax, self.rdf_steps

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(self.stage_steps)


PRESETS = {
    "quick": MeltQuench(),
    "paper": MeltQuench(atoms=40_000, melt_ps=20.0, relax_ps=20.0, time_step_fs=2.0),
}


def atom_counts(composition: Composition, atoms: int) -> tuple[int, ...]:
    """Return how many atoms of each element come closest to a composition; they sum to `atoms` (largest remainders)."""
    exact = composition * atoms
    counts = np.floor(exact + 1e-9).astype(int)
    most_missing = np.argsort(counts - exact, kind="stable")
    counts[most_missing[: atoms - counts.sum()]] += 1
    return tuple(counts.tolist())


@dataclass(frozen=True)
class Simulation:
    """One alloy to simulate: a protocol and a potential, with the numbers of atoms that hold its composition."""

    elements: tuple[str, ...]
    """Symbols, in the order of a composition's columns; those without an atom are left out of the run."""
    counts: tuple[int, ...]
    protocol: MeltQuench
    potential: Potential

    @classmethod
    def of(
        cls, composition: Composition, elements: Sequence[str], protocol: MeltQuench, potential: Potential
    ) -> "Simulation":
        """Set up the alloy nearest to a composition that the number of atoms can hold.

        Raises:
            SimulationError: If the potential lacks an element, or the box is too narrow for the cutoff of g(r).
        """
        elements = tuple(elements)
        potential.check_elements(elements)
        simulation = cls(elements, atom_counts(composition, protocol.atoms), protocol, potential)
        edge = simulation.edge / EXPANSION ** (1 / 3)
        if edge < BOX_MARGIN * protocol.rdf_cutoff:  # beyond it an atom would meet its own image
            atoms = math.ceil(protocol.atoms * (BOX_MARGIN * protocol.rdf_cutoff / edge) ** 3 * 1.02)
            raise SimulationError(
                f"A box of {protocol.atoms} atoms of {simulation.label} is only {edge:.1f} Å wide, hardly more than "
                f"the rdf_cutoff of {protocol.rdf_cutoff:g} Å. Take {atoms} atoms or more, or a shorter cutoff."
            )
        return simulation

    @property
    def composition(self) -> Composition:
        """The realised one, atomic fraction, shape `(e,)`."""
        return np.array(self.counts) / sum(self.counts)

    @property
    def label(self) -> str:
        """The realised composition in at.%."""
        return label(self.composition, self.elements)

    @property
    def present(self) -> tuple[tuple[str, int], ...]:
        """The elements that there are atoms of, and how many: atom types 1, 2, … of the run."""
        return tuple((element, n) for element, n in zip(self.elements, self.counts, strict=True) if n)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of atom types, counted from 0, in the order of the run's partial g(r)."""
        return tuple(pairs([n for _, n in self.present]))

    @property
    def edge(self) -> float:
        """Edge of the cubic box at the start, Å: by the elements' own volumes, expanded as a melt."""
        return float((EXPANSION * sum(n * _atomic_volume(element) for element, n in self.present)) ** (1 / 3))

    @property
    def key(self) -> str:
        """A name for files that changes with everything that decides the result."""
        text = render_input(self, potential_file=self.potential.digest)
        return f"{self.label}-{sum(self.counts)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _atomic_volume(element: str) -> float:
    """Return volume of an atom in the element as it is at room temperature, Å3."""
    atom = getattr(periodictable, element)
    if not atom.density:
        raise SimulationError(f"{element} has no known density to set up a box by. Leave it out.")
    return atom.mass / atom.density / 0.602214


def render_input(simulation: Simulation, *, potential_file: str) -> str:
    """Write the whole run as LAMMPS input; it goes on from the last stage whose restart file is in the folder.

    Every stage begins by reading the restart file of the one before, also when nothing was cut, so that a run that was
    cut ends with the same bits as one that was not.

    Args:
        simulation: What to run.
        potential_file: Its potential, as LAMMPS is to open it.
    """
    protocol, types = simulation.protocol, simulation.present
    melt, quench, relax, measure = protocol.stage_steps
    names = " ".join(element for element, _ in types)
    randoms = np.random.SeedSequence([protocol.seed, *simulation.counts]).generate_state(len(types) + 1)
    *places, speeds = (randoms % 899_999_999 + 1).tolist()
    edge, step_ps = f"{simulation.edge:.6f}", protocol.time_step_fs / 1000
    settings = f"""\
pair_style      {simulation.potential.style}
pair_coeff      * * {potential_file} {names}
neighbor        {SKIN:g} bin
neigh_modify    delay 0 every 1 check yes
timestep        {step_ps:g}
thermo          {max(10, protocol.steps // 200)}
thermo_style    custom step temp pe press vol density"""
    atoms = "\n".join(
        f"create_atoms    {k} random {n} {seed} box overlap 1.9 maxtry 1000"
        for k, ((_, n), seed) in enumerate(zip(types, places, strict=True), start=1)
    )
    groups = "\n".join(f"group           t{k} type {k}" for k in range(1, len(types) + 1))
    counted = " ".join(f"$(count(t{k}))" for k in range(1, len(types) + 1))
    pairs = " ".join(f"{a + 1} {b + 1}" for a, b in simulation.pairs)
    samples = measure // 10  # averages end at a multiple of the measuring steps, so that is where it begins

    def stage(name: str, before: str) -> str:
        return f"\nlabel           {name}\nclear\nread_restart    {before}.restart\n{settings}"

    def keep(name: str) -> str:
        return f"write_restart   partial.restart\nshell           mv partial.restart {name}.restart"

    return f"""\
# {simulation.label}: {sum(simulation.counts)} atoms, {protocol.hot:g} K to {protocol.cold:g} K at \
{protocol.quench_rate:g} K/s
if "$(is_file(relaxed.restart))" then "jump SELF measure"
if "$(is_file(quenched.restart))" then "jump SELF relax"
if "$(is_file(molten.restart))" then "jump SELF quench"

units           metal
atom_style      atomic
boundary        p p p
region          box block 0 {edge} 0 {edge} 0 {edge}
create_box      {len(types)} box
{settings}
{atoms}
min_style       cg
minimize        1e-4 1e-4 200 2000
reset_timestep  0
velocity        all create {protocol.hot:g} {speeds} mom yes rot yes dist gaussian
fix             melt all nvt temp {protocol.hot:g} {protocol.hot:g} 0.1
run             {melt}
{keep("molten")}
{stage("quench", "molten")}
fix             quench all npt temp {protocol.hot:g} {protocol.cold:g} 0.1 iso 0 0 1.0
run             {quench}
{keep("quenched")}
{stage("relax", "quenched")}
fix             relax all npt temp {protocol.cold:g} {protocol.cold:g} 0.1 iso 0 0 1.0
run             {relax}
{keep("relaxed")}
{stage("measure", "relaxed")}
reset_timestep  {-(-(melt + quench + relax) // measure) * measure}
fix             measure all nve
comm_modify     cutoff {protocol.rdf_cutoff + SKIN + 0.1:g}
compute         rdf all rdf {protocol.rdf_bins} {pairs} cutoff {protocol.rdf_cutoff:g}
fix             rdf all ave/time 10 {samples} {measure} c_rdf[*] mode vector ave one format " %.8g" file rdf.txt
compute         temp all temp
compute         pe all pe
compute         press all pressure temp
fix             mean all ave/time 10 {samples} {measure} c_temp c_press c_pe ave one
run             {measure}
{groups}
variable        spacing equal (vol/atoms)^(1/3)
compute         close all cna/atom $({CNA_FCC}*v_spacing)
compute         wide all cna/atom $({CNA_BCC}*v_spacing)
variable        crystalline atom (c_close==1)||(c_close==2)||(c_wide==3)
compute         crystalline all reduce ave v_crystalline
run             0 post no
print           "DONE temp $(f_mean[1]) press $(f_mean[2]) pe $(f_mean[3]/atoms) vol $(vol) crystalline \
$(c_crystalline) counts {counted}"
"""
