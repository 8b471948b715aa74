"""What the store compares in canonical units a researcher may see: else a search would find what is hidden."""

from __future__ import annotations

from hdg.terminology.ucum import units as ucum
from hdg.usage.research.units import plain


def codes(lines):
    return {line.split()[0] for line in lines.splitlines() if line.strip()}


def test_every_unit_that_is_converted_is_shown():
    metric = codes(ucum.METRIC) | set(ucum.PREFIXED) | set(ucum.BASE)
    alone = codes(ucum.PLAIN) | set(ucum.ALONE) | set(ucum.ARBITRARY) | set(ucum.AFFINE) | set(ucum.SAME)
    every = metric | alone | {f"m{code}" for code in metric}
    assert len(every) > 250
    assert sorted(code for code in every if plain(code) != code) == []
