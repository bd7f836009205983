"""What the paper ran: a pair of files with one name each, what is said of it and its code."""
