"""`cogcore eval`: asks a question set of the whole server, over HTTP, and measures the answers.

There is one path: the chat completions endpoint. Without `--base-url` the real server is started on a free port first.
Only `cogcore calibrate` (calibrate.py) runs the turn itself: it wants to know how sure that is before any calibration.
"""
