"""Judging: features of documents, a random forest on them, thresholds, and the filter's report."""
