"""A SIP softswitch: a back-to-back user agent that gives every call one callID."""
