"""Where a campaign stands."""

from datetime import UTC, datetime

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.planning.convergence import Budget
from glassmap.agent.store.connection import is_advanced
from glassmap.agent.store.measurements import Measurements
from glassmap.agent.store.records import Status
from glassmap.agent.store.results import Results
from glassmap.agent.store.rounds import Rounds


class CampaignStatus(Rounds, Measurements, Results):
    """What all tables together say."""

    def used(self) -> Budget:
        """What the campaign has used up."""
        began = next(self._db.query("SELECT MIN(time) AS time FROM log"))["time"]
        cpu = "SELECT COALESCE(SUM(json_extract(facts, '$.cpu_seconds')), 0) / 3600.0 FROM spectra"
        hours = 0.0 if began is None else (datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds() / 3600
        cpu_hours = self._db.execute(cpu).fetchone()[0] + (self.setting("lost_cpu_seconds") or 0.0) / 3600
        return Budget(len(self.curve()), self.n_spectra(), hours, cpu_hours)

    def status(self) -> Status:
        """Where the campaign stands."""
        curve, last, stage = self.curve(), self.decision(), self.last_stage()
        running, elements = self.progress(), self.setting("elements")
        state, reason = "running", "Not started yet."
        if stage is not None:
            reason = f"Round {stage['round']}, {stage['name']}: {stage['status']}."
            if stage["name"] == "measure":
                asked = self.suggestions(round_=stage["round"])
                reason += (
                    f" {len(asked) - len(self.suggestions(round_=stage['round'], pending=True))} of {len(asked)} done"
                )
                reason += (
                    "".join(f", {label(np.array(s.composition), elements)} {share:.0%}" for s, share in running) + "."
                )
            if not is_advanced(self.folder):
                reason += f" No process is at it: `glassmap run {self.folder}` goes on."
        if stage is not None and stage["status"] == "failed":
            state, reason = "failed", f"Round {stage['round']}, {stage['name']}: {stage['error']}"
        elif stage is not None and stage["status"] == "waiting":
            state, reason = "waiting", stage["error"] or self._missing(stage["round"])
            times = [self.batch_time(stage["round"], what) for what in ("approved", "ordered")]
            if stage["error"] and times[0] is not None and times[1] is None:
                reason = f"Round {stage['round']} is approved: `glassmap run {self.folder}` orders it."
        elif last is not None and last[1].state != "continue":
            state, reason = last[1].state, last[1].reason
        if look := self.to_look_at():
            reason += f" To look at with `glassmap ledger`: {look}."
        if (paused := self.setting("paused")) is not None:
            state, reason = "paused", f"Paused {paused}. {reason}"
        return Status(state, reason, len(curve), self.n_spectra(), curve[-1].mse if curve else None)

    def to_look_at(self) -> str:
        """What a person should see to: files as they were dropped last, and doubtful measurements."""
        doubtful = self._db.execute("SELECT COUNT(*) FROM spectra WHERE state = 'doubtful'").fetchone()[0]
        last = "SELECT COUNT(*) FROM (SELECT state, MAX(time) FROM files GROUP BY path) WHERE state = ?"
        files = {state: self._db.execute(last, [state]).fetchone()[0] for state in ("quarantined", "waiting")}
        counts = {"quarantined files": files["quarantined"], "scans without a composition": files["waiting"]}
        return ", ".join(f"{n} {what}" for what, n in (counts | {"doubtful measurements": doubtful}).items() if n)

    def _missing(self, round_: int) -> str:
        missing, asked = (len(self.suggestions(round_=round_, pending=pending)) for pending in (True, False))
        since = self.batch_time(round_, "ordered")
        when = f" since {since.astimezone():%A %Y-%m-%d %H:%M}" if since else ""
        return f"Waiting for {missing} of {asked} measurements of round {round_}{when}."
