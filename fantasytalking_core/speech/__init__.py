"""A recording to audio tokens, and which of them each latent frame hears (§3.2)."""
