"""Media: where a call's audio goes, and the pjsua2 endpoints that speak and listen."""
