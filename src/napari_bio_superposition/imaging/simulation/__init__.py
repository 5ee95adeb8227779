"""How the simulated study is drawn, one subject per file; `imaging.simulate` is the way in."""
