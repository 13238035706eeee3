"""What FantasyTalking adds to the frozen DiT (§3.2 to §3.4), its modules and its files."""
