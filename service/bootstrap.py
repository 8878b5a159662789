"""The API process, put together: what it opens, in which order, and nothing it does not need (design D7).

Opened here: the database under the API's role, the gate token (callback-response key and the key that unseals webhook
secrets), the engine's declarations. Not here: platform keys, wallet keys, votes.
"""
