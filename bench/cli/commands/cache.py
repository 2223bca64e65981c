"""`bench cache`: the artifact store."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.commands.options import store_option


@click.group()
def cache() -> None:
    """List, verify and clean the artifact store."""


@cache.command("ls")
@store_option
def cache_ls(store: Path) -> None:
    """List every artifact with its size and cost."""
    from bench.cli.housekeeping import list_artifacts

    list_artifacts(store)


@cache.command("verify")
@store_option
def cache_verify(store: Path) -> int:
    """Check every artifact's checksum; exit code 1 if one is damaged."""
    from bench.cli.housekeeping import verify_artifacts

    return verify_artifacts(store)


@cache.command("gc")
@store_option
@click.option("--dry-run", is_flag=True, help="Delete nothing; list what would be deleted.")
@click.option("--unfinished", is_flag=True, help="Also delete artifacts needed only to resume interrupted runs.")
def cache_gc(store: Path, dry_run: bool, unfinished: bool) -> None:
    """Delete artifacts that no cell and no interrupted run needs, damaged ones, leftovers. Not during a run."""
    from bench.cli.housekeeping import collect_garbage

    collect_garbage(store, dry_run, unfinished)
