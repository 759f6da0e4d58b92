"""What each kind of sender says, parsed and verified. Pure."""
