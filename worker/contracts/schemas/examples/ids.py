"""What the examples speak of: two wallets, and a hold in the first."""

from __future__ import annotations

WALLET = "3b241101-e2bb-4255-8caf-4136c566a962"
OTHER_WALLET = "9b2d0c1e-6f3a-4f0d-8a55-1c6f5c1f7e20"
HOLD = "0d4f3a1c-77b2-4b5e-9c52-6a1d2e3f4a5b"
