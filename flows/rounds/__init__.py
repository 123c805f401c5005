"""One round of a campaign: plan, measure, train, map, decide; and the loop around it."""
