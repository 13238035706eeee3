"""How much face and body move in a clip (§3.4)."""
