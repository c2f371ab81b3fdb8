"""What each engine is asked beyond the page: ``request(dice)``, and ``SEQUENCES`` of tokens."""
