"""From logits and a request to tokens, and the fast path that finds them."""
