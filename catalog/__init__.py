"""The catalog: datasets, cards, samples and lineage to look at, and the handoff's button."""
