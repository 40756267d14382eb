"""Knowledge neurons (Dai et al., ACL 2022): `attribution` finds them, `editor` edits with them."""
