"""The admin side, in memory."""
