"""What people noted, on the pages where it belongs."""

from collections.abc import Collection, Sequence

import numpy as np
import streamlit as st

from glassmap.agent.maps.spectra_archive import READS_ALIKE_AT_PCT
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Composition
from glassmap.agent.store.records import Note
from glassmap.dashboard.data import CampaignSnapshot
from glassmap.dashboard.live import plain


def notes_on(campaign: CampaignSnapshot, composition: Composition, measurements: Collection[str]) -> list[Note]:
    """Return what was noted on an alloy, or on measurements.

    Args:
        campaign: Whose notes are looked at.
        composition: Atomic fraction, shape (e,).
        measurements: Their ids, or those of what was asked for.
    """

    def is_of(note: Note) -> bool:
        if note.composition is None:
            return note.measurement in measurements
        return 100 * float(np.linalg.norm(np.array(note.composition) - composition)) < READS_ALIKE_AT_PCT

    return [note for note in campaign.status.notes if is_of(note)]


def show_notes(notes: Sequence[Note]) -> None:
    """Show notes, each in a line that says who made it, when and on what; nothing without any."""
    for note in notes:
        who = f"{note.person}, {note.time[:10]}, on {note.about}"
        text = plain(visible(note.text)).replace("\\n", " ")
        st.markdown(f":material/sticky_note_2: {text} :gray[({plain(visible(who))})]")
