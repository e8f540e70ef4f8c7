"""A worker whose engine has a fault: it cannot end the contact `poison`. Run in place of `waitline worker`."""

from engine.core import decide
from engine.core.messages import EndContact

sound = decide.DECIDE[EndContact]


def faulty(view, command, source):
    assert command.contact_id != "poison", "a planted fault"
    return sound(view, command, source)


if __name__ == "__main__":
    decide.DECIDE[EndContact] = faulty
    from engine.commands_worker import worker_command

    worker_command()
