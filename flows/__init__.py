"""The journey as commands and as a Prefect flow: a thin shell around the stages."""
