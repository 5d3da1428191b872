"""What the commands show: bars, lines or JSON, on streams that may be closed."""
