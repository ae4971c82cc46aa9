"""What the teacher would cost before any call: for the dry run."""
