"""The key ring, its file, and assertions signed with it."""
