"""The campaign's memory: one SQLite file a campaign folder, and the files that are too big for it.

Every stage records what it did and that it is done in one transaction, so a campaign that is cut anywhere goes on
where it was.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from glassmap.agent.config.campaign import held_of
from glassmap.agent.data.composition import label
from glassmap.agent.data.context import Held, say_unlearned
from glassmap.agent.models.description import read_description
from glassmap.agent.outside_text import visible
from glassmap.agent.planning.convergence import Budget
from glassmap.agent.store.connection import is_advanced
from glassmap.agent.store.files import Files
from glassmap.agent.store.log import AuditLog
from glassmap.agent.store.measurements import Measurements
from glassmap.agent.store.notes import Notes
from glassmap.agent.store.records import Running, ToLookAt
from glassmap.agent.store.results import Results
from glassmap.agent.store.rounds import Rounds
from glassmap.agent.store.scans import Scans
from glassmap.agent.store.status import FLAGS_SAID, Status
from glassmap.agent.store.suggestions import Suggestions
from glassmap.agent.store.wafers import Wafers


class CampaignStore(Rounds, Suggestions, Wafers, Measurements, Results, Files, Scans, Notes, AuditLog):
    """Rows in, rows out; each base holds the tables of one idea, this class what all of them say together."""

    def used(self) -> Budget:
        """Return what the campaign has used up."""
        cpu_hours = (self.cpu_seconds() + self.lost_cpu_seconds) / 3600
        return Budget(self.n_rounds(), self.n_spectra(), self.hours(), cpu_hours)

    def space_of(self, round_: int) -> Mapping[str, Any]:
        """Return the settings of the space that a round was planned in and is mapped; of one to be planned, today's.

        Raises:
            StoreError: If the campaign has not begun.
        """
        planned = self.planned_by(round_) if round_ <= self.last_planned_round() else None
        return self.config["space"] if planned is None else planned.space

    def status(self) -> Status:
        """Return where the campaign stands."""
        stage, last, paused = self.last_stage(), self.decision(), self.paused
        decision, mse = None if last is None else last[1], self.hold_out_mse()
        asked, missing = (0, 0) if stage is None else self.counts(stage.round)
        waiting_for, ordered = None, None
        if stage is not None and stage.name != "plan":
            ordered = self.batch_time(stage.round, "ordered")
        if stage is not None and stage.status == "waiting":
            is_approved = ordered is None and self.batch_time(stage.round, "approved") is not None
            waiting_for = "order" if stage.waiting_for == "approval" and is_approved else stage.waiting_for
        shares, rule = self.glass or (None, None)
        state = "running"
        if paused is not None:
            state = "paused"
        elif stage is not None and stage.status in ("failed", "waiting"):
            state = stage.status
        elif decision is not None and decision.state != "continue":
            state = decision.state
        return Status(
            state=state,
            rounds=self.n_rounds(),
            spectra=self.n_spectra(),
            hold_out_mse=None if mse is None or math.isnan(mse.value) else mse.value,
            hold_out_mse_standard_error=None if mse is None or math.isnan(mse.standard_error) else mse.standard_error,
            folder=self.folder,
            is_advanced=is_advanced(self.folder),
            round=None if stage is None else stage.round,
            stage=None if stage is None else stage.name,
            stage_status=None if stage is None else stage.status,
            waiting_for=waiting_for,
            asked=asked,
            missing=missing,
            ordered=ordered,
            running=tuple(
                Running(s.id, label(np.array(s.composition), self.elements), share) for s, share in self.progress()
            ),
            error=None if stage is None else stage.error,
            decision=decision,
            paused=paused,
            to_look_at=self.to_look_at(),
            flags=self.flags(most=FLAGS_SAID),
            use_changed=tuple(self.use_changed),
            peaks_found=self.peaks_found,
            glass=shares,
            glass_rule=rule,
            mixture=self.mixture,
            misplaced=self.misplaced,
            unlearned=self.say_unlearned(held_of(self._setting("config") or {})),
            wafers=tuple(self.wafer_gains()),
            spared=0 if stage is None else self.count_spared(stage.round),
            ensemble=None if (newest := self.artefact("checkpoint")) is None else read_description(newest[1]),
            effort=self.effort() if self.has_begun else None,
            off_targets=tuple(self.off_targets(since=self.last_planned_round() - 1)) if self.has_begun else (),
            notes=tuple(self.notes()),
            to_make=() if stage is None else tuple(self.wafers_to_make(stage.round)),
        )

    def say_unlearned(self, held: Held) -> str:
        """Return in sentences where some process variables are beyond what is learned from; empty where nowhere."""
        return visible(say_unlearned(self.contexts_learned(), held)) if held else ""

    def to_look_at(self) -> ToLookAt:
        """Return how much there is that a person should see to."""
        return ToLookAt(
            self.count_files().get("quarantined", 0),
            self.count_scans("waiting") + len(self.files_to_read()),
            self.count_measurements("flagged"),
            self.count_flagged_used(),
            self.count_scans("quarantined", of_several=True),
        )
