"""What papers and authors state about samplers beyond the page, each an experiment."""
