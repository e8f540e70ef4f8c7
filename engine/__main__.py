"""The command line: `waitline COMMAND`."""

import click

from engine import __version__

PLACES = {
    "demo": ("engine.commands_serve", "demo_command"),
    "serve": ("engine.commands_serve", "serve_command"),
    "check": ("engine.commands_check", "check_command"),
    "rules": ("engine.commands_rules", "rules_command"),
    "log": ("engine.commands_log", "log_command"),
    "kafka": ("engine.commands_kafka", "kafka_command"),
    "topics": ("engine.commands_topics", "topics_command"),
    "projections": ("engine.commands_projections", "projections_command"),
    "worker": ("engine.commands_worker", "worker_command"),
    "doctor": ("engine.commands_doctor", "doctor_command"),
    "export": ("engine.commands_copies", "export_command"),
    "migrate": ("engine.commands_copies", "migrate_command"),
    "route-log": ("engine.planning.commands", "route_log_command"),
}


class Commands(click.Group):
    """Imports a command only when it is asked for, so that `--version` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = PLACES.get(cmd_name)
        if place is None:
            return None
        from importlib import import_module

        command: click.Command = getattr(import_module(place[0]), place[1])
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="waitline")
def main() -> None:
    """Waitline routes calls, chats and SMS to agents, and can say why.

    One process on one SQLite file. Begin with `waitline demo` and a browser, then `waitline check` your own rules and
    `waitline serve` them.
    """


if __name__ == "__main__":
    main()
