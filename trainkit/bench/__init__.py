"""What trainkit costs on a user's own data and machine."""
