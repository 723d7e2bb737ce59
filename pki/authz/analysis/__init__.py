"""Tools on a whole policy, for whoever writes or reviews it: no call is decided here."""
