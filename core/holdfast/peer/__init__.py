"""The other node: identity, pairing by a one-time code, mutual TLS server and client."""
