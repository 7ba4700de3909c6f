"""What the admin listener shows, of every kind of server."""
