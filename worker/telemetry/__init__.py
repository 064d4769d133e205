"""What a process tells about itself while it runs: `logs` (lines), `metrics` (figures), `health` (pages for probes).

Nothing here knows what a wallet is. Nothing that it does can fail a batch; no line, label or page holds a message's
body or a secret.
"""
