"""`wisp zoo`."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def zoo(name: str | None, as_json: bool) -> None:
    """List the models that came with wisp, or show the card of one.

    With NAME, its card: the data it learned from, how well it does, what it costs, and what it must not be used for.
    """
    from wisp.errors import ModelError
    from wisp.zoo import DEFAULT, shipped_models

    models = shipped_models()
    if name is not None:
        models = tuple(model for model in models if model.name == name)
        if not models:
            known = ", ".join(model.name for model in shipped_models())
            raise ModelError(f"{name}: no model of this name came with wisp; those are: {known}")
    if as_json:
        cards = [{**model.card.to_json(), "path": str(model.path)} for model in models]
        click.echo(json.dumps(cards, indent=2, ensure_ascii=False))
    elif name is not None:
        click.echo(models[0].card.markdown() + f"\nFile: {models[0].path}")
    else:
        width = max(len(model.name) for model in models)
        click.echo(
            f"  {'name':<{width}}  classes   px       MACs    bytes  {'start':<10}  macro F1 on test (95% interval)"
        )
        for model in models:
            card = model.card
            mark = "*" if model.name == DEFAULT else " "
            low, high = card.f1_ci95
            start = "pretrained" if card.training["pretrained"] else "scratch"
            click.echo(
                f"{mark} {model.name:<{width}}  {len(card.classes):7}  {card.network['image_size']:3}  "
                f"{card.macs['official_deployed']:9,}  {card.network['size_bytes']:7,}  {start:<10}  "
                f"{card.f1:.4f} ({low:.4f} to {high:.4f})"
            )
        click.echo("\n* is what `wisp classify` takes where no --model is named; wisp zoo NAME shows a card")
