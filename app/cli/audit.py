"""`cogcore audit`: the newest lines of the audit log."""

from app.audit import FILE, Audit
from app.settings import Settings


def audit(settings: Settings, last: int) -> int:
    """Print them as they are, a JSON object on each; the exit status."""
    for line in Audit(settings.data_dir / FILE).last(last):
        print(line)
    return 0
