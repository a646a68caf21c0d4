"""Pure mathematics, seeded where chance is in it: no model imports I/O."""
