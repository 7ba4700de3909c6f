"""What of the hosts is naturally Python."""
