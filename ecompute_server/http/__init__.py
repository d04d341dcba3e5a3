"""HTTP and WebSockets: from bytes to handlers and back, by the contract's table."""
