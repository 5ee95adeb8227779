"""Encoder, tokens, SAE, checkpoints, inference, training: the room of torch."""
