"""One file per study: its settings as data, and a main that runs them and makes the tables and figures."""
