"""Curating: the stages from raw sources to the handoff, and the contract that every stage keeps."""
