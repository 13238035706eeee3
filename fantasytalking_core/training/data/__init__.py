"""Videos to training samples: clips → features of a clip → sample → cache (§4.1)."""
