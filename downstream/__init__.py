"""From the handoff to the device: train, quantize, evaluate. Reads nothing but the handoff."""
