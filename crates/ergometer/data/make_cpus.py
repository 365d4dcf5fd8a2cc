#!/usr/bin/env python3
r"""Makes src/sensor/model/cpus.tsv: processor name, thermal design power in watts, hardware threads.

    make_cpus.py cpu_power.csv intel_cpu_ark_dataset.csv amd_cpu_server_dataset.csv \
        amd_cpu_desktop_dataset.csv > cpus.tsv

All four files are CodeCarbon's (MIT licence). The first is codecarbon/data/hardware/cpu_power.csv of the wheel of
release 3.3.2; the others are the vendors' lists in codecarbon/data/hardware/cpu_dataset_builder of its repository,
github.com/mlco2/codecarbon at b05965e43b690cdc53787c7577adbe6e2caf4ed9. Powers come from the first, threads from the
others. Standard error gets the median power per thread of each server generation, for rating.rs.
"""
import csv
import re
import statistics
import sys

HEADER = """\
# Thermal design power of processors: normalised name, watts, hardware threads (empty where the source has none).
# Source: CodeCarbon 3.3.2, data/hardware/cpu_power.csv and the vendors' lists it is built from.
# Licence: MIT, Copyright (c) 2019 Mila, BCG Gamma, CometML, Haverford College; (c) 2023 Code Carbon NGO.
# Made by data/make_cpus.py; edit that, not this.
"""

# Server, workstation, desktop and laptop lines from about 2008 on: what somebody may train on today.
KEPT = re.compile(
    r"(apple m\d|athlon|core (i[3579]-|ultra |[3579] |m[357]-)|epyc|fx-|opteron \d{4}|phenom|ryzen|threadripper"
    r"|xeon (bronze|silver|gold|platinum|max|phi|[dew]-?\d|w[3579]-|e[357]-|[elwx][357]\d{3}|6\d{3}[pe]))")
DROPPED = re.compile(r"athlon (64|xp|mp|\d{3,4}$|le-|x2 (4|5|6|7))|mobile|embedded|pentium|xeon e\d{4}$")

# Intel's list gives cores. Two threads a core on the Xeon lines that have Hyper-Threading, one on the E-core parts.
EFFICIENT = re.compile(r"xeon 6\d{3}e$")
THREADED = re.compile(r"xeon (silver|gold|platinum|max|6\d{3}p|d-|e5-|e7-)")
UNTHREADED = re.compile(r"xeon (e5-260[39]|e5-160[37]|e5-240[37]|e5-4617|e7-8837)")

GENERATIONS = [
    ("Zen (EPYC 7001)", r"epyc 7\d{2}1p?$"),
    ("Zen 2 (EPYC 7002)", r"epyc 7[\df]\d2p?$|epyc 7h12$"),
    ("Zen 3 (EPYC 7003)", r"epyc 7[\df]\d3[px]?$"),
    ("Zen 4 (EPYC 9004)", r"epyc 9[1-6]\d4[fpx]?$"),
    ("Zen 4c (EPYC 97x4, 8004)", r"epyc (97\d4s?|8\d{2}4pn?)$"),
    ("Zen 5 (EPYC 9005)", r"epyc 9\d{2}5[fp]?$"),
    ("Zen 5c (EPYC 9005)", r"epyc (9645|9745|9825|9845|9965)$"),
    ("Sandy Bridge-EP", r"xeon e5-\d{4}l?w?$"),
    ("Ivy Bridge-EP", r"xeon e5-\d{4}l?w? v2$"),
    ("Haswell-EP", r"xeon e5-\d{4}l?w? v3$"),
    ("Broadwell-EP", r"xeon e5-\d{4}l?w? v4$"),
    ("Skylake-SP and Cascade Lake", r"xeon (platinum [89][12]|gold [56][12]|silver 4[12])\d\d"),
    ("Ice Lake-SP", r"xeon (platinum 83|gold [56]3|silver 43)\d\d"),
    ("Sapphire Rapids", r"xeon (max 9|platinum 84|gold [56]4|silver 44)\d\d"),
    ("Emerald Rapids", r"xeon (platinum 85|gold [56]5|silver 45)\d\d"),
    ("Granite Rapids", r"xeon 6[5-9]\d{2}p$"),
    ("Sierra Forest", r"xeon 6[5-9]\d{2}e$"),
]


def normalise(name):
    """The same steps as `normalise` in rating.rs."""
    name = re.sub(r"\([^)]*\)", "", name.lower())
    name = re.sub(r"[^ -~]", "", name)
    name = re.split(r" @| w/| with |,", name)[0]
    drop = {"intel", "amd", "cpu", "processor", "apu", "coprocessor", "gen", "0"}
    words = [w for w in name.split() if w not in drop]
    words = [w for w in words if not re.fullmatch(r"\d+th|\S+-cores?|[\d.]+ghz", w)]
    return " ".join(words)


def rows(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def intel_threads(name, cores):
    if EFFICIENT.match(name) or UNTHREADED.match(name):
        return cores
    return 2 * cores if THREADED.match(name) else None


def main(power, intel, *amd):
    threads = {}
    for row in rows(intel):
        name = normalise(row["cpu_name"])
        if row["total_cores"].isdigit() and intel_threads(name, int(row["total_cores"])):
            threads[name] = intel_threads(name, int(row["total_cores"]))
    for path in amd:
        for row in rows(path):
            if row["# of Threads"].isdigit():
                threads.setdefault(normalise(row["Name"]), int(row["# of Threads"]))
    watts = {}
    for row in rows(power):
        # Intel's list calls some parts `Core i5 processor 14401E`; the chip itself says i5-14401E.
        name = re.sub(r"^core (i[3579]) (\d)", r"core \1-\2", normalise(row["Name"]))
        if KEPT.match(name) and not DROPPED.search(name) and float(row["TDP"]) > 0:
            watts.setdefault(name, float(row["TDP"]))
    sys.stdout.write(HEADER)
    for name in sorted(watts):
        print(name, f"{watts[name]:g}", threads.get(name, ""), sep="\t")
    for label, pattern in GENERATIONS:
        # Zen 5c has its own row: its parts are not counted among Zen 5.
        known = [n for n in watts if re.match(pattern, n) and n in threads]
        if label == "Zen 5 (EPYC 9005)":
            known = [n for n in known if not re.match(GENERATIONS[6][1], n)]
        # Over threads and not over names: a virtual processor is a thread of some host, more likely of a large one.
        median = statistics.median(watts[n] / threads[n] for n in known for _ in range(threads[n]))
        print(f"{median:6.2f} W, the median thread of {len(known):3} {label}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
