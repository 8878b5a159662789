"""`python -m service.authority`: the vote-checking process. A wrong setting or token ends it with one clear line."""

import signal
import sys

from hsm.errors import HsmError
from service.authority.root import main
from service.domain.errors import PortcullisError

if __name__ == "__main__":
    # uvicorn ends its work at SIGTERM and then raises the signal again: a stop that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        main()
    except (PortcullisError, HsmError) as error:
        sys.exit(f"authority: {error}")
