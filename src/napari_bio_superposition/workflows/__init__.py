"""One job each: analyze, demo; they join the rooms below. No Qt."""
