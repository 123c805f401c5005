"""Who measures: a data set that is replayed, molecular dynamics, a laboratory."""
