"""How the parts are made, and which of them gets which: a file for each group of parts."""
