"""`python -m service.authority`: the vote-checking process. A wrong setting or token ends it with one clear line."""

import sys

from hsm.errors import HsmError
from service.authority.root import main
from service.domain.errors import PortcullisError

if __name__ == "__main__":
    try:
        main()
    except (PortcullisError, HsmError) as error:
        sys.exit(f"authority: {error}")
