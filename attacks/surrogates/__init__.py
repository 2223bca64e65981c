"""Surrogates: the networks that attacks train while they craft, shared by EM, REM and TAP."""
