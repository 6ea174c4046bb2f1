"""The lab: two switches with their call data servers, phones, and a call through both."""
