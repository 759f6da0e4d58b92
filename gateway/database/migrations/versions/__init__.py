"""One module per revision, oldest first by number. A revision that is on main is never edited."""
