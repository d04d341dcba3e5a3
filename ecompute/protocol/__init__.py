"""What both clients know about the protocol, without a socket, a clock or a thread: pure, so that every turn
of it can be tested.
"""
