"""One module for each revision, frozen once it was released: it must not import what may change (wide.py does not)."""
