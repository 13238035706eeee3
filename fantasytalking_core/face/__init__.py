"""A portrait to the face in it and to who it is (§3.3)."""
